"""What the findings mean to a person, and what is to be done: (中文, English)."""

from .checks import Finding

KINDS: dict[str, tuple[str, str]] = {
    "edited": ("记录被改动", "the record was changed"),
    "deleted": ("记录被删除", "the record was taken away"),
    "inserted": ("记录是事后补入的", "the record was put in afterwards"),
    "block_edited": ("封存块被改动", "the block was changed"),
    "block_deleted": ("封存块被删除", "the block was taken away"),
    "seals_edited": ("块内的摘要被改动或删除", "digests of the block were changed or taken away"),
    "signature": ("签名不是本服务的", "the signature is not of this service"),
    "cut": (
        "末尾被截断:外部留存的链头在数据库里没有",
        "the tail was cut off: the head known elsewhere is not in the database",
    ),
    "rewritten": (
        "末尾被改写:与外部留存的链头不同",
        "the tail was rewritten: it is not the head that is known elsewhere",
    ),
    "restored": (
        "数据库来自备份,比外部留存的链头旧",
        "the database came from a backup that is older than the head known elsewhere",
    ),
}
TAMPERED = (
    "可能有人绕过程序改了数据库。不要修补,不要重启数据库:先做备份留证,保存锚定文件与数据库日志,报告安全"
    "负责人。查明后用 beam audit accept 写明原因,结果永久留在链上。",
    "Somebody may have changed the database past the programs. Mend nothing: take a backup as "
    "evidence, keep the anchor files and the database's log, tell whoever answers for security. "
    "When it is cleared up, beam audit accept with the reason, which stays in the chain for ever.",
)
RESTORED = (
    "若刚刚恢复过备份:核对丢失的时段,然后执行 make audit-accept REASON=原因(即 beam audit accept),"
    "封存随即继续。若没有人恢复过备份,按被篡改处理。",
    "If a backup was just put back: see what time is missing, then make audit-accept REASON=… "
    "(beam audit accept), and sealing goes on. If nobody did, treat it as tampering.",
)


def told(finding: Finding) -> tuple[str, str]:
    """One finding in a sentence, with service, block and row."""
    zh, en = KINDS[finding.kind]
    block = (f" 第 {finding.block} 块", f" block {finding.block}") if finding.block else ("", "")
    row = f" {finding.trail} {finding.row}" if finding.row else ""
    return f"{finding.service}{block[0]}{row}:{zh}", f"{finding.service}{block[1]}{row}: {en}"


def advice(findings: list[Finding]) -> tuple[str, str]:
    """What is to be done about them."""
    return TAMPERED if any(finding.tampering for finding in findings) else RESTORED
