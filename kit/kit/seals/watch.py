"""What a running service does about its chain: seal, anchor, look."""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import Gauge
from sqlalchemy.ext.asyncio import AsyncSession

from ..ids import new_id
from ..jobs import Jobs
from ..jose import SigningKey
from ..metrics import CHECK
from ..runtime import Runtime
from ..secrets import Vault
from ..settings import ServiceSettings
from . import anchors, checks
from .anchors import Anchor, AnchorFile
from .blocks import MOST_ROWS, AuditBlock, Chain, add_block, head, seal, trails_of
from .checks import Finding

log = logging.getLogger(__name__)
SEAL_SECONDS, CHECK_SECONDS = 5.0, 15.0
CHECK_BLOCKS, CHECK_ROWS = 2_000, 20_000
"""How much of the chain one look takes; the newest part always, the older part by turns."""
SHOWN = 20
FINDINGS = Gauge(
    "beam_audit_findings", "What does not fit in the sealed records", ["service", "kind"]
)
SEALED = Gauge("beam_audit_sealed_blocks", "Blocks in the chain of sealed records", ["service"])
jobs = Jobs()


@dataclass
class Watch:
    """What is known of one service's chain since this process began."""

    chain: Chain
    file: AnchorFile | None
    looked: bool = False
    last: AuditBlock | None = None
    accepted: frozenset[str] = frozenset()
    recent: list[Finding] = field(default_factory=list)
    """Of the last look: the head, and the newest part."""
    round: list[Finding] = field(default_factory=list)
    before: list[Finding] = field(default_factory=list)
    """Of the older parts: in this round, and in the one before."""
    position: int = 0
    rows: dict[str, str] = field(default_factory=dict)
    """Table → id behind which rows without a seal are looked for."""
    late: dict[str, list[str]] = field(default_factory=dict)
    """Table → rows that were found without a seal, to be sealed next."""
    anchored: int = 0

    @property
    def findings(self) -> list[Finding]:
        every = {f.key: f for f in (*self.recent, *self.round, *self.before)}
        return [finding for key, finding in every.items() if key not in self.accepted]

    async def report(self, session: AsyncSession) -> dict[str, Any]:
        """For operators: `state` is whole | restored | broken | unknown, and says what to do."""
        found = self.findings
        state = "whole" if self.looked else "unknown"
        if found:
            state = "broken" if any(f.tampering for f in found) else "restored"
        return {
            "ok": None if not self.looked else not found,
            "state": state,
            "blocks": self.last.n if self.last is not None else 0,
            "head": self.last.hash if self.last is not None else None,
            "sealed_at": self.last.at.isoformat() if self.last is not None else None,
            "anchored": self.anchored if self.file is not None else None,
            "findings": [f.as_json() for f in found[:SHOWN]],
            "more_findings": max(len(found) - SHOWN, 0),
            "accepted": len(self.accepted),
        }


def chain_of(settings: ServiceSettings, vault: Vault) -> Chain:
    """What a service seals. It signs where its vault lasts: a key that nobody has afterwards
    proves nothing."""
    package = type(settings).__module__.partition(".")[0]
    lasting = settings.vault_key_file is not None
    signer = SigningKey.derived(vault.secret_for("seals")) if lasting else None
    return Chain(settings.service, trails_of(package), signer)


def of(runtime: Runtime) -> Watch:
    """The watch of a running service."""
    if "audit" not in runtime.parts:
        chain, folder = chain_of(runtime.settings, runtime.vault), runtime.settings.audit_anchor_dir
        file = AnchorFile(folder, chain.service) if folder is not None else None
        runtime.parts["audit"] = Watch(chain, file)
    watch: Watch = runtime.parts["audit"]
    return watch


@jobs.every(seconds=SEAL_SECONDS)
async def seal_trails(runtime: Runtime) -> None:
    """Seal what is new, and write the head down elsewhere. Nothing is sealed while the head known
    elsewhere is not in this chain: a second one would grow beside it."""
    watch = of(runtime)
    more = True
    while more:
        async with runtime.sessions.begin() as session:
            if await _compare(session, watch) is not None:
                return
            late, watch.late = watch.late, {}
            block = await seal(session, watch.chain, late=late)
        await anchor(runtime, watch)
        more = block is not None and block.rows >= MOST_ROWS


async def _compare(session: AsyncSession, watch: Watch) -> Finding | None:
    written = watch.file.head() if watch.file is not None else None
    if written is None:
        return None
    return await checks.against(session, watch.chain, written)


async def anchor(runtime: Runtime, watch: Watch) -> None:
    """Write the head down, if the file does not have it. Raises OSError."""
    async with runtime.sessions() as session:
        watch.last = await head(session)
        SEALED.labels(watch.chain.service).set(watch.last.n if watch.last is not None else 0)
        if watch.file is None or watch.last is None:
            return
        if watch.anchored >= watch.last.n:
            return
        written = watch.file.head()
        if written is None or written.block < watch.last.n:
            watch.file.append(line(watch.last, await anchors.where(session)))
        watch.anchored = watch.last.n


def line(block: AuditBlock, where: anchors.Where) -> Anchor:
    return Anchor(block.n, block.hash, block.at.isoformat(), where.id, where.wal, block.signature)


@jobs.every(seconds=CHECK_SECONDS)
async def check_trails(runtime: Runtime) -> None:
    """Look whether the chain holds, for the figures, the log and `/v1/ops`."""
    watch = of(runtime)
    async with runtime.sessions() as session:
        await look(session, watch)
    found = watch.findings
    for kind in sorted({*checks.STRANGE, "restored"}):
        of_kind = sum(finding.kind == kind for finding in found)
        FINDINGS.labels(watch.chain.service, kind).set(of_kind)
    CHECK.labels(watch.chain.service, "audit").set(not found)
    for finding in found:
        log.error("sealed records: %s", finding.key)


async def look(session: AsyncSession, watch: Watch) -> None:
    """The head, the newest part, and the next older part."""
    chain = watch.chain
    watch.accepted = await accepted(session, chain)
    recent = [f for f in [await _compare(session, watch)] if f is not None]
    part = await checks.newest(session, most_blocks=CHECK_BLOCKS, most_rows=CHECK_ROWS)
    recent += await checks.check(session, chain, part, signatures=False)
    if part:
        recent += [f for f in await checks.check(session, chain, part[-1:], signatures=True)
                   if f.kind == "signature"]  # fmt: skip
    watch.recent = recent
    if part and part[0].n > 1:
        await _look_back(session, watch, until=part[0].n)
    await _look_for_unsealed(session, watch)
    watch.looked = True


async def _look_back(session: AsyncSession, watch: Watch, *, until: int) -> None:
    size = {"most_blocks": CHECK_BLOCKS, "most_rows": CHECK_ROWS}
    part = await checks.blocks(session, after=watch.position, **size)
    older = [block for block in part if block.n < until]
    watch.round += await checks.check(session, watch.chain, older, signatures=False)
    watch.position = older[-1].n if older else 0
    if not older or older[-1].n == until - 1:
        watch.before, watch.round, watch.position = watch.round, [], 0


async def _look_for_unsealed(session: AsyncSession, watch: Watch) -> None:
    """Rows older than an hour that no block has: of a transaction that was frozen, or of a clock
    that went wrong. They are sealed with the next block; whether they are late is seen then."""
    if watch.last is None:
        return
    for trail in watch.chain.trails:
        after = watch.rows.get(trail.table, "")
        found, position = await checks.unsealed(session, trail, after=after, most=MOST_ROWS)
        watch.rows[trail.table] = position or ""
        if found:
            watch.late[trail.table] = found


async def accepted(session: AsyncSession, chain: Chain) -> frozenset[str]:
    """Keys of what somebody has looked at and accepted."""
    blocks = await checks.accepted(session, chain)
    return frozenset(key for block in blocks for key in (block.accepted or {})["findings"])


async def verify(
    session: AsyncSession, chain: Chain, written: Iterable[Anchor] = ()
) -> list[Finding]:
    """Everything from the first row to every head that was written down: all signatures, too."""
    found: list[Finding] = []
    for one in sorted(set(written), key=lambda a: (a.block, a.hash)):
        finding = await checks.against(session, chain, one)
        if finding is not None:
            found.append(finding)
    # Of a tail that is gone its end says enough.
    gone = [f for f in found if f.kind in ("cut", "restored")]
    found = [f for f in found if f not in gone[:-1]]
    position = 0
    while part := await checks.blocks(
        session, after=position, most_blocks=CHECK_BLOCKS, most_rows=CHECK_ROWS
    ):
        found += await checks.check(session, chain, part, signatures=True)
        position = part[-1].n
        session.expunge_all()
    done = await accepted(session, chain)
    return list({f.key: f for f in found if f.key not in done}.values())


async def accept(
    session: AsyncSession, chain: Chain, written: list[Anchor], *, by: str, reason: str
) -> AuditBlock:
    """Say for ever that a person has looked at what does not fit, and let the chain go on behind
    the highest head that is known; in the caller's transaction."""
    last = await head(session)
    found = await verify(session, chain, written)
    highest = max((one.block for one in written), default=0)
    return await add_block(
        session,
        chain,
        n=max(last.n if last is not None else 0, highest) + 1,
        kind="accepted",
        previous=last,
        rows=0,
        accepted={
            "id": new_id("acc"),
            "by": by,
            "reason": reason,
            "findings": sorted({finding.key for finding in found}),
            "at": int(time.time()),
        },
    )
