"""Heads of the chain, written where the database's administrator does not write.

One file for each service, `<service>.jsonl`, one line for each block that this process has sealed
or met. A line also says which database it was, and how far its write-ahead log had come: so a
database that came from a backup is told from one whose tail somebody cut off.
"""

import json
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

TAIL = 1 << 13
_PLACE = text(
    "select (select system_identifier from pg_control_system()) || '/' || "
    "(select timeline_id from pg_control_checkpoint()) || '/' || "
    "(select oid from pg_database where datname = current_database()) as id, "
    "pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint as wal"
)


@dataclass(frozen=True)
class Where:
    """Which database this is."""

    id: str
    """Identifier of the cluster, its timeline, and the database's oid: another one after
    pg_restore, and after a recovery to a point in time."""
    wal: int
    """Bytes of write-ahead log until now: fewer after the files were put back from a copy."""


@dataclass(frozen=True)
class Anchor:
    block: int
    hash: str
    at: str
    """UTC, when the block was sealed."""
    database: str
    wal: int
    signature: str


async def where(session: AsyncSession) -> Where:
    row = (await session.execute(_PLACE)).one()
    return Where(row.id, int(row.wal))


class AnchorFile:
    """The heads of one service that were written down."""

    def __init__(self, folder: Path, service: str) -> None:
        self.path = folder / f"{service}.jsonl"

    def head(self) -> Anchor | None:
        """The highest block that was ever written down; None when there is none."""
        try:
            with open(self.path, "rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - TAIL))
                lines = file.read().splitlines()
        except FileNotFoundError:
            return None
        # Two processes write side by side, so the last line need not be the highest.
        return max(_read(lines), key=lambda anchor: anchor.block, default=None)

    def every(self) -> list[Anchor]:
        """All lines, as they were written."""
        try:
            return list(_read(self.path.read_bytes().splitlines()))
        except FileNotFoundError:
            return []

    def together(self, elsewhere: Iterable[Anchor]) -> list[Anchor]:
        """All lines, and those heads known elsewhere that no line has. Which database sealed these
        is taken from the line before, so that a database from a backup is told as such."""
        mine = sorted(self.every(), key=lambda one: one.block)
        numbers, known = [one.block for one in mine], {(one.block, one.hash) for one in mine}
        found = list(mine)
        for one in elsewhere:
            if (one.block, one.hash) not in known:
                before = bisect_right(numbers, one.block)
                at = mine[before - 1] if before else one
                found.append(replace(one, database=at.database, wal=at.wal))
        return found

    def append(self, anchor: Anchor) -> None:
        """Returns when the line is on the disk. Raises OSError."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(asdict(anchor), separators=(",", ":"))
        # Begins its own line, also behind one that a crash has torn.
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, f"\n{line}\n".encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read(lines: list[bytes]) -> Iterator[Anchor]:
    """What is whole of these lines. One that is torn, or cut off at the beginning, says nothing."""
    for line in lines:
        try:
            yield Anchor(**json.loads(line))
        except (ValueError, TypeError):
            continue
