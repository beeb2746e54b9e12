"""Whether the chain holds: every row, every block, and the head that is known elsewhere."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from ..jose import BadToken
from .anchors import Anchor, where
from .blocks import TYP, AuditBlock, Chain, Trail, claims_of, utc

LATE = timedelta(minutes=15)
"""A row this much older than the block before the one that seals it was put in afterwards: no
transaction of ours lasts so long."""
STRANGE = frozenset(
    {"edited", "deleted", "inserted", "block_edited", "block_deleted", "seals_edited", "signature",
     "cut", "rewritten"}
)  # fmt: skip
"""What only somebody with the database's own rights can have done."""


@dataclass(frozen=True)
class Finding:
    """Something that does not fit.

    edited | deleted | inserted: a row; block_edited | block_deleted | seals_edited | signature: a
    block; cut | rewritten: the head known elsewhere is not in this chain; restored: nor is it, but
    this database came from a backup.
    """

    service: str
    kind: str
    block: int | None = None
    trail: str | None = None
    row: str | None = None

    @property
    def key(self) -> str:
        """The same for the same finding, every time."""
        return " ".join(str(p) for p in (self.kind, self.block, self.trail, self.row) if p)

    @property
    def tampering(self) -> bool:
        return self.kind in STRANGE

    def as_json(self) -> dict[str, Any]:
        return {
            "service": self.service,
            "kind": self.kind,
            "block": self.block,
            "table": self.trail,
            "row": self.row,
        }


async def blocks(
    session: AsyncSession, *, after: int, most_blocks: int, most_rows: int
) -> list[AuditBlock]:
    """The next blocks behind number `after`; at least one, if there is one."""
    query = select(AuditBlock).where(AuditBlock.n > after).order_by(AuditBlock.n).limit(most_blocks)
    found: list[AuditBlock] = []
    rows = 0
    for block in (await session.scalars(query)).all():
        rows += block.rows
        if found and rows > most_rows:
            break
        found.append(block)
    return found


async def newest(session: AsyncSession, *, most_blocks: int, most_rows: int) -> list[AuditBlock]:
    """The last blocks, in their order; at least one, if there is one."""
    query = select(AuditBlock).order_by(AuditBlock.n.desc()).limit(most_blocks)
    found: list[AuditBlock] = []
    rows = 0
    for block in (await session.scalars(query)).all():
        rows += block.rows
        if found and rows > most_rows:
            break
        found.append(block)
    return found[::-1]


async def check(
    session: AsyncSession, chain: Chain, part: Sequence[AuditBlock], *, signatures: bool
) -> list[Finding]:
    """What does not fit in consecutive blocks: they, the link to the one before, their rows."""
    if not part:
        return []
    await utc(session)
    earlier = select(AuditBlock).where(AuditBlock.n < part[0].n).order_by(AuditBlock.n.desc())
    before = await session.scalar(earlier.limit(1))
    found = list(_links(chain, before, part))
    for block in part:
        if signatures and chain.signer is not None and not _is_signed(chain, block):
            found.append(Finding(chain.service, "signature", block.n))
    found += await _seals(session, chain, part)
    for trail in chain.trails:
        found += await _rows(session, chain.service, trail, part[0].n, part[-1].n)
    return found


def _links(
    chain: Chain, before: AuditBlock | None, part: Sequence[AuditBlock]
) -> Iterator[Finding]:
    for block in part:
        if block.hash != block.hashed(chain.service):
            yield Finding(chain.service, "block_edited", block.n)
        expected = before.n + 1 if before is not None else 1
        # The number behind a gap that a person has accepted follows from the head known elsewhere.
        follows = block.n == expected or block.kind == "accepted"
        if not follows or block.previous != (before.hash if before is not None else ""):
            yield Finding(chain.service, "block_deleted", expected)
        before = block


def _is_signed(chain: Chain, block: AuditBlock) -> bool:
    assert chain.signer is not None
    try:
        claims = chain.signer.signed(block.signature, TYP)
    except BadToken:
        return False
    return claims == claims_of(chain.service, block)


async def _seals(session: AsyncSession, chain: Chain, part: Sequence[AuditBlock]) -> list[Finding]:
    """Blocks whose seals were changed, taken away, or are more than they were."""
    query = text(
        "select block, count(*), encode(sha256(string_agg(convert_to(trail || ' ' || row_id || "
        "' ', 'UTF8') || digest, ''::bytea order by position)), 'hex') as root "
        "from audit_seal where block between :first and :last group by block"
    )
    rows = await session.execute(query, {"first": part[0].n, "last": part[-1].n})
    there = {block: (count, root) for block, count, root in rows}
    found = []
    for block in part:
        nothing = block.rows == 0 and block.n not in there
        if not nothing and there.pop(block.n, None) != (block.rows, block.root):
            found.append(Finding(chain.service, "seals_edited", block.n))
        there.pop(block.n, None)
    return found


async def _rows(
    session: AsyncSession, service: str, trail: Trail, first: int, last: int
) -> list[Finding]:
    """Rows that are not as they were sealed, gone, or dated back."""
    late, column = "false", "null"
    if trail.time is not None:
        column = f"t.{trail.time}"
        # When the clock was put back, the block's own time counts. (One that goes back and forth
        # again between two rounds of sealing leaves rows that look dated back: a person accepts.)
        late = (
            "b.kind = 'rows' and t.time < least(b.at, (select p.at from audit_block p "
            f"where p.n < b.n order by p.n desc limit 1)) - interval '{LATE.total_seconds()} s'"
        )
    # nosemgrep: sql-made-of-strings -- names of tables and columns from the models
    query = text(
        "select s.block, s.row_id, case when t.id is null then 'deleted' "
        "when s.digest <> t.now then 'edited' else 'inserted' end "
        "from audit_seal s join audit_block b on b.n = s.block "
        f"left join lateral (select t.id, {column} as time, {trail.digest} as now "
        f"from {trail.table} t where t.id = s.row_id offset 0) t on true "
        f"where s.trail = '{trail.table}' and s.block between :first and :last "
        f"and (t.id is null or s.digest <> t.now or ({late})) order by s.block, s.row_id"
    )
    rows = await session.execute(query, {"first": first, "last": last})
    return [Finding(service, kind, block, trail.table, row) for block, row, kind in rows]


async def unsealed(
    session: AsyncSession, trail: Trail, *, after: str, most: int
) -> tuple[list[str], str | None]:
    """Rows without a seal among the next `most` behind id `after`, and the id to go on behind;
    None at the end."""
    # nosemgrep: sql-made-of-strings -- names of tables from the models
    query = text(
        f"with next as (select t.id from {trail.table} t where t.id > :after order by t.id "
        "limit :most) select array_agg(id order by id) filter (where not exists (select 1 from "
        f"audit_seal s where s.trail = '{trail.table}' and s.row_id = next.id)), count(*), "
        "(select id from next order by id desc limit 1) from next"
    )
    found, looked, last = (await session.execute(query, {"after": after, "most": most})).one()
    return list(found or ()), last if looked == most else None


async def accepted(session: AsyncSession, chain: Chain) -> list[AuditBlock]:
    """The blocks in which somebody has accepted what did not fit; only those that the service's
    own key has signed count."""
    query = select(AuditBlock).where(AuditBlock.kind == "accepted").order_by(AuditBlock.n)
    return [
        block
        for block in (await session.scalars(query)).all()
        if block.hash == block.hashed(chain.service)
        and (chain.signer is None or _is_signed(chain, block))
    ]


async def against(session: AsyncSession, chain: Chain, anchor: Anchor) -> Finding | None:
    """Whether a head that was written down elsewhere stands in this chain."""
    block = await session.get(AuditBlock, anchor.block)
    if block is not None and block.hash == anchor.hash:
        return None
    if block is not None:
        return Finding(chain.service, "rewritten", anchor.block)
    if any(bridge.n > anchor.block for bridge in await accepted(session, chain)):
        return None
    if await session.scalar(select(AuditBlock.n).where(AuditBlock.n > anchor.block).limit(1)):
        return Finding(chain.service, "block_deleted", anchor.block)
    if not anchor.database:  # of the stream, which does not say
        return Finding(chain.service, "cut", anchor.block)
    here = await where(session)
    another = here.id != anchor.database or here.wal < anchor.wal
    return Finding(chain.service, "restored" if another else "cut", anchor.block)
