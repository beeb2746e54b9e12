"""Rows without a seal are searched for every 15 seconds, among 20,000 of each table."""

from typing import Any

from sqlalchemy import event

from kit.audit import StaffAction
from kit.db import Sessions, open_engine, open_sessions
from kit.ids import new_id
from kit.seals import blocks, checks
from kit.seals.blocks import Chain
from kit.testing import Ground


async def _act(sessions: Sessions, count: int) -> list[str]:
    ids = [new_id("act") for _ in range(count)]
    async with sessions.begin() as session:
        session.add_all(
            StaffAction(
                id=id_, actor="stf_w01", dept="SAMR", action="decide_case", things={},
                request_id=None, trace_id=None,
            )
            for id_ in ids
        )  # fmt: skip
    return ids


async def test_the_search_brings_those_without_a_seal_alone(ground: Ground) -> None:
    engine = open_engine(await ground.database("helpdesk_svc"))
    sessions, chain = open_sessions(engine), Chain("helpdesk", blocks.trails_of("kit"), None)
    sealed = await _act(sessions, 50)
    async with sessions.begin() as session:
        await blocks.seal(session, chain)
    fresh = await _act(sessions, 2)
    (trail,) = (t for t in chain.trails if t.table == "staff_action")
    brought: list[int] = []

    def count(_: Any, cursor: Any, statement: str, *__: Any) -> None:
        brought.append(cursor.rowcount if statement.startswith("with next") else 0)

    event.listen(engine.sync_engine, "after_cursor_execute", count)
    async with sessions() as session:
        every = await checks.unsealed(session, trail, after="", most=100)
        first = await checks.unsealed(session, trail, after="", most=50)
        none = await checks.unsealed(session, trail, after=max(fresh), most=50)
    await engine.dispose()
    assert every == (sorted(fresh), None)
    assert first == ([], max(sealed)), "and where to go on"
    assert none == ([], None)
    assert sum(brought) == 3
