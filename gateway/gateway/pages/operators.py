"""`/ops`: how the platform does, for the person on call: each red line says what to do."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any

from kit.seals import words
from kit.seals.checks import Finding
from kit.views import View

from ..refusals import NAMES
from . import reconciliation
from .layout import code, moment, page, switches, table

BACKUP_HOURS = 26
"""A daily backup, and two hours for it."""
SIGN_OUT = "/ops/sign-out"
SIGN_OUT_TEXT = ("退出登录", "Sign out")


@dataclass(frozen=True)
class Line:
    """One thing that is wrong: what, and what to do; HTML."""

    what: str
    do: str


def render(said: dict[str, Any], view: View) -> str:
    """`said` is what `GET /v1/ops` answers."""
    t = view.t
    lines = list(_lines(said, view))
    summary = t(f"需要处理:{len(lines)} 项", f"{len(lines)} things to see to")
    good = f"<p><strong>{t('一切正常,无需处理。', 'All is well; nothing to do.')}</strong></p>"
    red = table(
        summary,
        (t("问题", "What is wrong"), t("怎么办", "What to do")),
        [(f"<strong>{line.what}</strong>", line.do) for line in lines],
    )
    body = (
        f"<p>{t('北京时间', 'China time')} {moment(said['at'])}"
        f"{t('(日志中是 UTC)', ' (logs are in UTC)')} · "
        f'<a href="/ops">{t("刷新", "Refresh")}</a> · '
        f'<a href="{SIGN_OUT}">{t(*SIGN_OUT_TEXT)}</a></p>'
        f"{red if lines else good}"
        f"<h2>{t('服务', 'Services')}</h2>{_services(said, view)}"
        f"<h2>{t('电子监察', 'Supervision')}</h2>{_supervision(said, view)}"
        f"<h2>{t('资金', 'Money')}</h2>{_money(said, view)}"
        f"<h2>{t('对账', 'Reconciliation')}</h2>"
        f"{reconciliation.render(said['reconciliation'], view)}"
        f"<h2>{t('封存的记录', 'Sealed records')}</h2>{_sealed(said, view)}"
        f"<h2>{t('备份', 'Backups')}</h2><p>{_backup(said, view)}</p>"
        f"<p>{t('数据与', 'The data and ')}{code('GET /v1/ops')}"
        f"{t(' 相同;说明见 docs/operations.md。', ' are the same; see docs/operations.md.')}</p>"
    )
    title = t("运行状态", "How the platform does")
    return page(title, body, view, switches(view, "/ops", language=True))


def _name(service: str, view: View) -> str:
    return escape(f"{view.t(*NAMES[service])} ({service})")


def _lines(said: dict[str, Any], view: View) -> Iterator[Line]:
    t = view.t
    for service in said["unreachable"]:
        yield Line(
            f"{_name(service, view)} {t('没有回答', 'gives no answer')}",
            t("先刷新一次;仍没有回答,看日志:", "Refresh once; still none: see its log: ")
            + code(f"make logs ARGS='{service} --since 10m'")
            + t(";重启:", "; restart: ")
            + code(f"make roll SERVICE={service}")
            + t("。不用容器时看 ", ". Without containers: ")
            + code(f"$BEAM_DATA/logs/{service}.log")
            + t(",它会自动重启。", "; it is started again by itself."),
        )
    for service in said["not_ready"]:
        reasons = ", ".join(said["services"][service].get("reasons", []))
        yield Line(
            f"{_name(service, view)} {t('未就绪', 'is not ready')}: {escape(reasons)}",
            t(
                "postgres:看数据库与磁盘;nats:启动消息服务,事件不会丢;migrations:执行迁移。",
                "postgres: see the database and its disk; nats: start the broker, no event is "
                "lost; migrations: migrate.",
            ),
        )
    for service, count in said["dead_letters"].items():
        link = f'<a href="/ops/dead-letters/{service}">{t("原因与重新处理", "Why, and again")}</a>'
        yield Line(
            f"{_name(service, view)} {t(f'有 {count} 条死信', f'has {count} dead letters')}",
            f"{link} {t('先修好原因,再逐条重新处理。', 'Mend the cause, then handle each again.')} "
            + code(f"GET /v1/ops/{service}/dead-letters"),
        )
    for service, count in said["late_events"].items():
        yield Line(
            f"{_name(service, view)} "
            + t(f"有 {count} 个事件没有发出", f"has {count} events that were not sent"),
            t(
                "NATS 是否在运行、磁盘是否已满?恢复后自动补发,不要清空任何东西。",
                "Does NATS run, is its disk full? They are sent by themselves afterwards: empty "
                "nothing.",
            ),
        )
    yield from _of_checks(said, view)
    for service in said["sealed_elsewhere"]:
        yield Line(
            f"{_name(service, view)} "
            + t("的封存链与留在数据交换处的链头不符", ": its sealed records end before the head "
                "that the exchange knows"),
            escape(t(*words.RESTORED)),
        )  # fmt: skip
    if len(said["versions"]) > 1:
        each = "; ".join(f"{v}: {', '.join(s)}" for v, s in said["versions"].items())
        yield Line(
            f"{t('同时运行多个版本', 'Several versions run')}: {escape(each)}",
            t("升级中属正常;升级已结束则补做 ", "Normal during an upgrade; else finish it: ")
            + code("make upgrade"),
        )
    if said["overdue_tasks"]:
        count = said["overdue_tasks"]
        yield Line(
            t(f"{count} 项审批已超期", f"{count} tasks of departments are overdue"),
            t("通知下表中的部门和督办人员。", "Tell the departments below, and supervision."),
        )
    if said["refused_refunds"]:
        count = said["refused_refunds"]
        yield Line(
            t(f"{count} 笔退款被渠道拒绝", f"{count} refunds were refused by the channel"),
            f"{code('GET /v1/refunds?state=error')} "
            + t("逐笔在商户平台处理。", "lists them; see to each at the channel."),
        )
    for what, do in reconciliation.red(said["reconciliation"], view):
        yield Line(what, do)
    if _backup_is_old(said):
        yield Line(t("超过一天没有备份", "No backup for more than a day"), code("make backup"))


def _of_checks(said: dict[str, Any], view: View) -> Iterator[Line]:
    t = view.t
    for failed in said["failed_checks"]:
        service, _, check = failed.partition("/")
        result = said["services"][service]["checks"][check]
        if check == "audit_heads":
            yield from _forks(result["broken"], view)
            continue
        if check != "audit":
            do = {
                "ledger": t(
                    "停止退款,保留数据库原状,与渠道账单核对。",
                    "Stop refunds, keep the database as it is, compare with the channel's bill.",
                ),
            }.get(check, t("见 docs/operations.md。", "See docs/operations.md."))
            wrong = t("账目核对不通过", "books do not hold")
            yield Line(f"{_name(service, view)} {wrong}: {escape(check)}", do)
            continue
        findings = [
            Finding(service, f["kind"], f["block"], f["table"], f["row"])
            for f in result["findings"]
        ]
        told = "<br>".join(escape(t(*words.told(finding))) for finding in findings)
        yield Line(told, escape(t(*words.advice(findings))))


def _forks(broken: list[str], view: View) -> Iterator[Line]:
    """Blocks, as `<service> <block>`, that the exchange was told in two ways."""
    t = view.t
    for service, _, block in (place.partition(" ") for place in broken):
        yield Line(
            f"{_name(service, view)} "
            + t(
                f"第 {escape(block)} 块与此前告知数据交换的不同:封存链分了叉",
                f"block {escape(block)} is not what the exchange was told before: its chain of "
                "sealed records has forked",
            ),
            escape(t(*words.TAMPERED)),
        )


def _services(said: dict[str, Any], view: View) -> str:
    t = view.t
    rows = []
    for service, state in said["services"].items():
        bus = state["bus"]
        jobs = [job["name"] for job in state.get("jobs", []) if job["failures"]]
        waiting = sum(one.get("pending") or 0 for one in state.get("consumers", []))
        rows.append(
            (
                _name(service, view),
                t("就绪", "ready") if state["ready"] else t("未就绪", "not ready"),
                escape(str(state.get("versions", {}).get("beam"))),
                f"{bus['unsent']} / {waiting}",
                str(bus["dead_letters"]),
                escape(", ".join(jobs)) or "–",
            )
        )
    heads = (
        t("服务", "Service"),
        t("状态", "State"),
        t("版本", "Version"),
        t("事件:待发 / 待收", "Events to send / to take"),
        t("死信", "Dead letters"),
        t("失败的任务", "Failing jobs"),
    )
    return table(t("各服务", "Each service"), heads, rows)


def _supervision(said: dict[str, Any], view: View) -> str:
    t = view.t
    board = said["services"].get("case", {}).get("boards", {}).get("supervision", {})
    if "departments" not in board:
        return f"<p>{t('办件服务没有回答。', 'Case handling gives no answer.')}</p>"
    if not board["departments"]:
        return f"<p>{t('没有在办的审批。', 'No task is open.')}</p>"
    names = ("open", "overdue", "in_danger", "stalled")
    rows = [
        (escape(one["dept"]), *(str(one[name]) for name in names), escape(one["earliest_due"]))
        for one in board["departments"]
    ]
    heads = (
        t("部门", "Department"),
        t("在办", "Open"),
        t("超期", "Overdue"),
        t("两日内到期", "Due within two days"),
        t("三日无人认领", "Unclaimed for three days"),
        t("最早到期", "Earliest due"),
    )
    return table(t("各部门的审批", "Tasks of departments"), heads, rows)


def _money(said: dict[str, Any], view: View) -> str:
    t = view.t
    state = said["services"].get("payment", {})
    ledger = state.get("checks", {}).get("ledger", {})
    board = state.get("boards", {}).get("money", {})
    if "total_fen" not in ledger or "attempts_unknown" not in board:
        return f"<p>{t('缴费服务没有回答。', 'Payment gives no answer.')}</p>"
    rows = [
        (t("账目合计(应为 0)", "Sum of the books (must be 0)"), f"{ledger['total_fen']} fen"),
        (t("待退的款(暂记)", "Money that goes back"), f"{abs(ledger['suspense_fen'])} fen"),
        (t("被拒的退款", "Refused refunds"), str(board["refunds_refused"]["count"])),
        (t("结果不明的支付", "Attempts without a known end"),
         str(board["attempts_unknown"]["count"])),
    ]  # fmt: skip
    return table(t("资金", "Money"), (t("项目", "What"), t("数", "How much")), rows)


def _sealed(said: dict[str, Any], view: View) -> str:
    t = view.t
    states = {
        "whole": t("完好", "whole"),
        "restored": t("来自备份", "from a backup"),
        "broken": t("对不上", "does not fit"),
        "unknown": t("尚未检查", "not looked at yet"),
    }
    rows = []
    for service, state in said["services"].items():
        audit = state.get("checks", {}).get("audit")
        if audit is None or "state" not in audit:
            continue
        kept = audit["anchored"]
        anchored = t("未设置", "not set") if kept is None else str(kept)
        rows.append(
            (
                _name(service, view),
                states[audit["state"]],
                str(audit["blocks"]),
                anchored,
                moment(audit["sealed_at"]) if audit["sealed_at"] else "–",
            )
        )
    heads = (
        t("服务", "Service"),
        t("状态", "State"),
        t("块", "Blocks"),
        t("库外留存", "Anchored"),
        t("最近封存", "Last sealed"),
    )
    return table(t("封存链", "Chains"), heads, rows)


def _backup_is_old(said: dict[str, Any]) -> bool:
    if said["backup_at"] is None:
        return not said["unreachable"]
    age = datetime.now(UTC) - datetime.fromisoformat(said["backup_at"])
    return age.total_seconds() > BACKUP_HOURS * 3600


def _backup(said: dict[str, Any], view: View) -> str:
    if said["backup_at"] is None:
        return view.t("没有备份,或查不到。", "There is none, or it cannot be told.")
    return view.t("最近一次", "The last one") + " " + moment(said["backup_at"])
