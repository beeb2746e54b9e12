"""The chain of blocks in the service's own database, and how rows get into it."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from sqlalchemy import BigInteger, Index, Integer, LargeBinary, MetaData, func, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from contracts.event import EVENTS

from .. import crash
from ..db import APPEND_ONLY, KitBase, Moment
from ..jose import SigningKey
from ..outbox import emit

WINDOW_SECONDS = 3600
"""Rows younger than this are looked at in every round; older ones that are not sealed are found
by `Watch`, bit by bit."""
MOST_ROWS = 20_000
"""Of one table in one block, and in one statement."""
TYP = "audit-seal+jwt"
NONE: Mapping[str, Sequence[str]] = {}
_LOCK = text("select pg_try_advisory_xact_lock(hashtext('seals'))")


@dataclass(frozen=True)
class Trail:
    """A table whose rows are sealed. Its key is the column `id`."""

    table: str
    prefix: str | None = None
    """Of ids that grow with time (kit.ids.new_id): young rows are found by them."""
    time: str | None = None
    """Column with the time of the row by the database's clock: young rows are found by it where
    ids say nothing (it has an index then), and rows that were dated back."""
    parts: str | None = None
    """SQL for rows of other tables that belong to row `t`, as one JSON value."""

    @property
    def digest(self) -> str:
        """SQL: SHA-256 of row `t`. Columns without a value do not count, so that one that is added
        later changes no digest. Times are told in UTC: see `utc`."""
        more = f" || jsonb_build_object('parts', ({self.parts}))" if self.parts else ""
        row = f"jsonb_strip_nulls(to_jsonb(t){more})"
        return f"sha256(convert_to(({row})::text, 'UTF8'))"

    def young(self) -> tuple[str, dict[str, Any]]:
        """SQL that is true for rows `t` of the last hour, and its parameters."""
        if self.prefix is not None:
            floor = int((time.time() - WINDOW_SECONDS) * 1000)
            return "t.id >= :floor", {"floor": f"{self.prefix}_{floor:012x}"}
        return f"t.{self.time} > now() - interval '{WINDOW_SECONDS} seconds'", {}


def sealed(trail: Trail) -> dict[str, Any]:
    """`__table_args__ = {"info": sealed(Trail(…))}`: append-only, and its rows are sealed."""
    return {**APPEND_ONLY, "trail": trail}


class AuditBlock(KitBase):
    """One block. `hash` covers everything else of it but the signature."""

    __tablename__ = "audit_block"
    n: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    kind: Mapped[str]
    """first (was there before sealing began) | rows | accepted"""
    previous: Mapped[str]
    rows: Mapped[int] = mapped_column(Integer)
    root: Mapped[str]
    """SHA-256 over the digests of its rows, in their order."""
    at: Mapped[Moment]
    accepted: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    """Who accepted what did not fit, why, and the keys of the findings."""
    hash: Mapped[str]
    signature: Mapped[str]
    __table_args__ = ({"info": APPEND_ONLY},)

    def hashed(self, service: str) -> str:
        """What `hash` must be."""
        at = self.at.astimezone(UTC).isoformat(timespec="microseconds")
        content = [service, self.n, self.kind, self.previous, self.rows, self.root, at]
        if self.accepted is not None:
            content.append(json.dumps(self.accepted, sort_keys=True, ensure_ascii=False))
        return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()


class AuditSeal(KitBase):
    """The digest of one row, and the block that it was sealed in."""

    __tablename__ = "audit_seal"
    trail: Mapped[str] = mapped_column(primary_key=True)
    row_id: Mapped[str] = mapped_column(primary_key=True)
    block: Mapped[int] = mapped_column(BigInteger)
    position: Mapped[int] = mapped_column(Integer)
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    __table_args__ = (
        Index("audit_seal_block_position_idx", "block", "position", unique=True),
        {"info": APPEND_ONLY},
    )


@dataclass(frozen=True)
class Chain:
    """What one service seals, and with which key."""

    service: str
    trails: tuple[Trail, ...]
    signer: SigningKey | None


def trails_of(package: str) -> tuple[Trail, ...]:
    """The tables of a service whose rows are sealed, those of the kit among them."""
    # A program that serves nothing has not met it yet; it imports this module, so not at the top.
    import_module("kit.audit")
    parts: list[MetaData] = [KitBase.metadata]
    if find_spec(package) is not None and find_spec(f"{package}.models") is not None:
        parts.append(import_module(f"{package}.models").Base.metadata)
    tables = [table for part in parts for table in part.tables.values()]
    return tuple(table.info["trail"] for table in tables if "trail" in table.info)


async def utc(session: AsyncSession) -> None:
    """Within this transaction PostgreSQL writes times in UTC, as digests want them."""
    await session.execute(text("set local timezone to 'UTC'"))


async def head(session: AsyncSession) -> AuditBlock | None:
    """The newest block."""
    newest = select(AuditBlock).order_by(AuditBlock.n.desc()).limit(1)
    block: AuditBlock | None = await session.scalar(newest)
    return block


async def seal(
    session: AsyncSession, chain: Chain, *, late: Mapping[str, Sequence[str]] = NONE
) -> AuditBlock | None:
    """Seal what is not sealed yet, in the caller's transaction, and tell of it; None when there is
    nothing, or another process is at it. Rows of transactions that are still open are for the next
    block; `late`: table → ids of older rows that were found without a seal."""
    if not await session.scalar(_LOCK):
        return None
    await utc(session)
    last = await head(session)
    n = last.n + 1 if last is not None else 1
    backlog = last is None or (last.kind == "first" and last.rows >= MOST_ROWS)
    count = 0
    for trail in chain.trails:
        ways = [await _next_of_backlog(session, trail) if backlog else trail.young()]
        if ids := late.get(trail.table):
            ways.append(("t.id = any(:ids)", {"ids": list(ids)}))
        for where, parameters in ways:
            count = await _seal_rows(session, trail, n, count, where, parameters)
    if count == 0:
        return None
    kind = "first" if backlog else "rows"
    return await add_block(session, chain, n=n, kind=kind, previous=last, rows=count)


async def _next_of_backlog(session: AsyncSession, trail: Trail) -> tuple[str, dict[str, Any]]:
    """What was there before sealing began goes in by its ids, as many rows in a block as fit."""
    highest = select(func.max(AuditSeal.row_id)).where(AuditSeal.trail == trail.table)
    return "t.id > :after", {"after": await session.scalar(highest) or ""}


async def _seal_rows(
    session: AsyncSession,
    trail: Trail,
    block: int,
    count: int,
    where: str,
    parameters: dict[str, Any],
) -> int:
    """Give rows of one table that have no seal theirs; how many the block has then."""
    # nosemgrep: sql-made-of-strings -- names of tables and columns from the models
    statement = text(
        f"with fresh as (select t.id, {trail.digest} as digest from {trail.table} t "
        f"where {where} and not exists (select 1 from audit_seal s "
        f"where s.trail = '{trail.table}' and s.row_id = t.id) order by t.id limit :most) "
        "insert into audit_seal (trail, row_id, block, position, digest) "
        f"select '{trail.table}', id, :block, :count + row_number() over (order by id), "
        "digest from fresh"
    )
    numbers = {"most": MOST_ROWS, "block": block, "count": count}
    done: Any = await session.execute(statement, {**numbers, **parameters})
    return count + int(done.rowcount)


async def root_of(session: AsyncSession, block: int) -> str:
    """SHA-256 over trail, row id and digest of the block's rows, in their order."""
    whole = text(
        "select encode(sha256(coalesce(string_agg(convert_to(trail || ' ' || row_id || ' ', "
        "'UTF8') || digest, ''::bytea order by position), ''::bytea)), 'hex') "
        "from audit_seal where block = :block"
    )
    return str(await session.scalar(whole, {"block": block}))


async def add_block(
    session: AsyncSession,
    chain: Chain,
    *,
    n: int,
    kind: str,
    previous: AuditBlock | None,
    rows: int,
    accepted: dict[str, Any] | None = None,
) -> AuditBlock:
    """Append block `n` over the seals that were just written for it, and tell the others."""
    at: datetime | None = await session.scalar(text("select now()"))
    assert at is not None
    block = AuditBlock(
        n=n,
        kind=kind,
        previous=previous.hash if previous is not None else "",
        rows=rows,
        root=await root_of(session, n),
        at=at,
        accepted=accepted,
    )
    block.hash = block.hashed(chain.service)
    block.signature = ""
    if chain.signer is not None:
        block.signature = chain.signer.sign(claims_of(chain.service, block), TYP)
    session.add(block)
    await session.flush()
    told = EVENTS.get(f"{chain.service}.audit_sealed.v1")
    if told is not None:
        fields = {name: getattr(block, name) for name in _TOLD}
        emit(session, told(block=n, **fields), subject=f"audit_{chain.service}", version=n)
    crash.point("seal_before_commit")
    return block


_TOLD = ("kind", "rows", "previous", "hash", "signature")


def claims_of(service: str, block: AuditBlock) -> dict[str, Any]:
    """What the signature of a block says."""
    return {"service": service, "block": block.n, "hash": block.hash}
