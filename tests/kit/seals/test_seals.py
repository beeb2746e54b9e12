"""The chain of sealed records, over real PostgreSQL: what is found, named, and not cried about."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from contracts.audit import HelpdeskAuditSealed
from kit.audit import StaffAction
from kit.db import Sessions, open_engine, open_sessions
from kit.ids import new_id
from kit.jose import SigningKey
from kit.seals import blocks, watch
from kit.seals.anchors import Anchor, AnchorFile, where
from kit.seals.blocks import Chain
from kit.secrets import Vault
from kit.testing import Ground


@dataclass
class Books:
    """A service's database with its chain, and the file where heads are written down."""

    sessions: Sessions
    other: Sessions
    """As a second process of the service has it."""
    chain: Chain
    file: AnchorFile
    url: str

    async def act(self, count: int = 1) -> list[str]:
        ids = [new_id("act") for _ in range(count)]
        async with self.sessions.begin() as session:
            session.add_all(line(id_) for id_ in ids)
        return ids

    async def seal(self, sessions: Sessions | None = None) -> Any:
        """As the job does, without its pause."""
        async with (sessions or self.sessions).begin() as session:
            block = await blocks.seal(session, self.chain)
        if block is not None:
            async with self.sessions() as session:
                self.file.append(watch.line(block, await where(session)))
        return block

    async def sql(self, *statements: str) -> None:
        """As the database's administrator."""
        async with self.sessions.begin() as session:
            for statement in statements:
                await session.execute(text(statement))

    async def found(self) -> list[str]:
        async with self.sessions() as session:
            findings = await watch.verify(session, self.chain, self.file.every())
        self_found = await self.found_by_itself()
        assert {f.key for f in findings} == set(self_found)
        return sorted(f.key for f in findings)

    async def found_by_itself(self) -> list[str]:
        """By the running service's own look."""
        own = watch.Watch(self.chain, self.file)
        async with self.sessions() as session:
            own.last = await blocks.head(session)
            await watch.look(session, own)
        return sorted(f.key for f in own.findings)


def line(id_: str) -> StaffAction:
    return StaffAction(
        id=id_, actor="stf_w01", dept="SAMR", action="decide_case", things={"case_id": "case_1"},
        request_id=None, trace_id=None,
    )  # fmt: skip


@pytest.fixture
async def books(ground: Ground, tmp_path: Path) -> AsyncIterator[Books]:
    url = await ground.database("helpdesk_svc")
    first, second = open_engine(url), open_engine(url)
    key = SigningKey.derived(Vault(Vault.new_document()).secret_for("seals"))
    chain = Chain("helpdesk", blocks.trails_of("helpdesk_svc"), key)
    file = AnchorFile(tmp_path, "helpdesk")
    yield Books(open_sessions(first), open_sessions(second), chain, file, url)
    await first.dispose()
    await second.dispose()


async def test_a_chain_that_nobody_touched_holds(books: Books) -> None:
    old = await books.act(3)
    block = await books.seal()
    assert (block.n, block.kind, block.rows, block.previous) == (1, "first", 3, "")
    assert await books.seal() is None
    await books.act(2)
    second = await books.seal()
    assert (second.n, second.kind, second.rows, second.previous) == (2, "rows", 2, block.hash)
    assert await books.found() == []
    async with books.sessions() as session:
        sealed = text("select row_id from audit_seal where block = 1 order by position")
        assert list(await session.scalars(sealed)) == sorted(old)
        told = await session.scalars(text("select body from outbox order by seq"))
        events = [json.loads(body) for body in told]
    assert [e["type"] for e in events] == [f"cn.beam.{HelpdeskAuditSealed.TYPE}"] * 2
    assert [(e["data"]["block"], e["data"]["hash"]) for e in events] == [
        (1, block.hash),
        (2, second.hash),
    ]


async def test_a_backlog_goes_into_several_first_blocks(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "MOST_ROWS", 4)
    await books.act(9)
    assert [(b.kind, b.rows) for b in [await books.seal() for _ in range(3)]] == [
        ("first", 4),
        ("first", 4),
        ("first", 1),
    ]
    await books.act()
    assert (await books.seal()).kind == "rows"
    assert await books.found() == []


async def test_an_edited_row_is_found_and_named(books: Books) -> None:
    _, edited, _ = await books.act(3)
    await books.seal()
    await books.sql(f"update staff_action set actor = 'stf_x' where id = '{edited}'")
    assert await books.found() == [f"edited 1 staff_action {edited}"]
    # Who also edits its digest is found by the block's own hash.
    digest = blocks.Trail("staff_action").digest
    await books.sql(
        "set local timezone to 'UTC'",
        f"update audit_seal s set digest = {digest} from staff_action t "
        f"where s.row_id = t.id and t.id = '{edited}'",
    )
    assert await books.found() == ["seals_edited 1"]


async def test_a_row_that_was_taken_away_is_found_and_named(books: Books) -> None:
    await books.act(2)
    await books.seal()
    [gone] = await books.act()
    await books.seal()
    await books.sql(f"delete from staff_action where id = '{gone}'")
    assert await books.found() == [f"deleted 2 staff_action {gone}"]
    await books.sql(f"delete from audit_seal where row_id = '{gone}'")
    assert await books.found() == ["seals_edited 2"]


async def test_a_row_that_was_put_in_afterwards_is_found_and_named(books: Books) -> None:
    await books.act()
    await books.seal()
    await books.act()
    await books.seal()
    forged = new_id("act")
    await books.sql(
        "insert into staff_action (id, at, actor, action, things) values "
        f"('{forged}', now() - interval '3 days', 'stf_x', 'decide_case', '{{}}')"
    )
    await books.seal()
    assert await books.found() == [f"inserted 3 staff_action {forged}"]


async def test_a_row_put_in_under_an_old_id_is_found_by_the_service_itself(books: Books) -> None:
    await books.act()
    await books.seal()
    forged = "act_0192f3c47b1e7c3a9b556f3c2a1d4e5f"
    await books.sql(
        "insert into staff_action (id, at, actor, action, things) values "
        f"('{forged}', now() - interval '3 days', 'stf_x', 'decide_case', '{{}}')"
    )
    own = watch.Watch(books.chain, books.file)
    async with books.sessions() as session:
        own.last = await blocks.head(session)
        await watch.look(session, own)
    assert own.late == {"staff_action": [forged]}
    async with books.sessions.begin() as session:
        await blocks.seal(session, books.chain, late=own.late)
    assert await books.found() == [f"inserted 2 staff_action {forged}"]


CUT = (
    "delete from staff_action where id in (select row_id from audit_seal where block >= 2)",
    "delete from audit_seal where block >= 2",
    "delete from audit_block where n >= 2",
)


async def test_a_tail_that_was_cut_off_is_found_by_the_head_that_is_known_elsewhere(
    books: Books,
) -> None:
    for _ in range(3):
        await books.act()
        await books.seal()
    await books.sql(*CUT)
    assert await books.found() == ["cut 3"]
    # The chain by itself is whole: without the file nobody would know.
    async with books.sessions() as session:
        assert await watch.verify(session, books.chain) == []


async def test_blocks_cannot_be_made_anew_without_the_key(books: Books) -> None:
    for _ in range(2):
        await books.act()
        await books.seal()
    await books.sql(*CUT)
    forger = Chain("helpdesk", books.chain.trails, SigningKey(SigningKey.generate()))
    await books.act()
    async with books.sessions.begin() as session:
        await blocks.seal(session, forger)
    assert await books.found() == ["rewritten 2", "signature 2"]
    # Nor accepted.
    async with books.sessions.begin() as session:
        await watch.accept(session, forger, [], by="stf_x", reason="nothing to see here")
    async with books.sessions() as session:
        found = await watch.verify(session, books.chain, books.file.every())
    assert [f.key for f in found] == ["rewritten 2", "signature 2", "signature 3"]


async def test_an_edited_block_and_one_that_is_gone_are_found(books: Books) -> None:
    for _ in range(4):
        await books.act()
        await books.seal()
    await books.sql("update audit_block set rows = 7 where n = 2")
    assert await books.found() == ["block_edited 2", "seals_edited 2"]
    await books.sql(
        "delete from audit_seal where block = 2",
        "delete from audit_block where n = 2",
    )
    assert await books.found() == ["block_deleted 2"]


async def test_a_row_that_commits_late_is_sealed_later_and_a_rolled_back_one_never(
    books: Books,
) -> None:
    late, never = new_id("act"), new_id("act")
    async with books.other() as slow, books.other() as undone:
        slow.add(line(late))
        undone.add(line(never))
        await slow.flush()
        await undone.flush()
        await books.act(2)
        assert (await books.seal()).rows == 2
        await books.act()
        assert (await books.seal()).rows == 1
        await slow.commit()
        await undone.rollback()
    assert (await books.seal()).rows == 1
    assert await books.seal() is None
    assert await books.found() == []
    async with books.sessions() as session:
        where_ = text("select block from audit_seal where row_id = :id")
        assert await session.scalar(where_, {"id": late}) == 3
        assert await session.scalar(where_, {"id": never}) is None


async def test_a_sealing_that_is_rolled_back_is_done_again(books: Books) -> None:
    await books.act(2)
    async with books.sessions() as session:
        assert await blocks.seal(session, books.chain) is not None
        await session.rollback()
    assert (await books.seal()).n == 1
    assert await books.found() == []


async def test_two_processes_seal_one_chain_while_rows_come(books: Books) -> None:
    async def append() -> None:
        for _ in range(20):
            await books.act(5)

    async def sealing(sessions: Sessions) -> int:
        done = 0
        while not writers.done():
            done += await books.seal(sessions) is not None
            await asyncio.sleep(0.01)
        return done

    async def three() -> None:
        await asyncio.gather(*(append() for _ in range(3)))

    writers = asyncio.create_task(three())
    await asyncio.gather(sealing(books.sessions), sealing(books.other), writers)
    while await books.seal() is not None:
        pass
    assert await books.found() == []
    async with books.sessions() as session:
        sealed = text("select count(*), count(distinct row_id) from audit_seal")
        assert tuple((await session.execute(sealed)).one()) == (300, 300)


async def test_a_database_from_a_backup_is_told_as_such_and_goes_on_when_accepted(
    books: Books, ground: Ground
) -> None:
    await books.act()
    await books.seal()
    name = books.url.rpartition("/")[2]
    # The backup: a copy of the database; a restore makes a database of another oid.
    await books.sessions.kw["bind"].dispose()
    await books.other.kw["bind"].dispose()
    await ground._admin(f'create database "{name}_back" template "{name}"')
    await books.act()
    await books.seal()
    engine = open_engine(books.url + "_back")
    back = Books(open_sessions(engine), open_sessions(engine), books.chain, books.file, "")
    assert await back.found() == ["restored 2"]

    async with back.sessions.begin() as session:
        block = await watch.accept(
            session, back.chain, back.file.every(), by="ops", reason="disk failed, backup of today"
        )
    assert (block.n, block.kind) == (3, "accepted")
    back.file.append(Anchor(block.n, block.hash, block.at.isoformat(), "", 0, block.signature))
    await back.act()
    assert (await back.seal()).n == 4
    assert await back.found() == []
    await engine.dispose()


@pytest.mark.parametrize(("another", "kind"), [(False, "cut"), (True, "restored")])
async def test_a_head_that_another_host_wrote_down_is_known_by_the_exchange(
    books: Books, another: bool, kind: str
) -> None:
    """This host's file ends before it; whether the database is another one since, it does say."""
    await books.act()
    await books.seal()
    if another:
        [line] = books.file.every()
        books.file.append(replace(line, database="another"))
    told = [
        Anchor(1, books.file.every()[0].hash, "", "", 0, ""),
        Anchor(2, "f" * 64, "", "", 0, ""),
    ]
    async with books.sessions() as session:
        found = await watch.verify(session, books.chain, books.file.together(told))
    assert [f.key for f in found] == [f"{kind} 2"]


async def test_files_put_back_from_a_copy_are_told_as_restored(books: Books) -> None:
    """The same database, with fewer bytes of write-ahead log than were written down."""
    await books.act()
    await books.seal()
    async with books.sessions() as session:
        here = await where(session)
    books.file.append(Anchor(2, "f" * 64, "", here.id, here.wal + 10_000_000, ""))
    assert await books.found() == ["restored 2"]


async def test_what_was_looked_at_stays_accepted_and_the_next_thing_is_still_found(
    books: Books,
) -> None:
    first, second = await books.act(2)
    await books.seal()
    await books.sql(f"delete from staff_action where id = '{first}'")
    async with books.sessions.begin() as session:
        block = await watch.accept(
            session, books.chain, books.file.every(), by="ops", reason="court order 7"
        )
    assert block.accepted is not None
    assert block.accepted["findings"] == [f"deleted 1 staff_action {first}"]
    assert await books.found() == []
    await books.sql(f"delete from staff_action where id = '{second}'")
    assert await books.found() == [f"deleted 1 staff_action {second}"]


async def test_a_column_that_is_added_later_changes_nothing(books: Books) -> None:
    await books.act()
    await books.seal()
    await books.sql("alter table staff_action add column more text")
    assert await books.found() == []


def test_a_torn_line_of_the_file_costs_itself_alone(tmp_path: Path) -> None:
    file = AnchorFile(tmp_path, "helpdesk")
    assert file.head() is None
    anchor = Anchor(1, "a", "t", "d", 1, "s")
    file.append(anchor)
    with file.path.open("a") as torn:
        torn.write('{"block": 2, "ha')
    assert file.head() == anchor
    file.append(Anchor(3, "c", "t", "d", 1, "s"))
    assert [one.block for one in file.every()] == [1, 3]
