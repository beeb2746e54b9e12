"""What happens around a planted bug: a scene goes well without the bug. An act is the bug itself,
where it is something that somebody does to the running platform and not a line of code."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from ..journey.steps import LEAD
from .killer import until
from .trial import Trial

Scene = Callable[[Trial], Awaitable[object]]
Act = Callable[[Trial], Awaitable[None]]


async def walk(trial: Trial) -> None:
    await trial.crowd.many(2)


async def pay_late(trial: Trial) -> None:
    """The fee stands open for longer than the pause between two sweeps."""
    trial.crowd.pays_after = 5.0
    await trial.crowd.many(2)


async def walk_at_once(trial: Trial) -> None:
    await trial.crowd.many(12)


async def lose_store(trial: Trial) -> None:
    """Events lie in the store, unhandled, when it goes. For whom they were dies: what the broker
    had handed over already would wait in the socket of one who is merely frozen."""
    with trial.killer.frozen("exchange", "helpdesk"):
        await trial.crowd.walk("refused")
        await trial.killer.lose_store()
        await until(lambda: False, seconds=2)
        trial.killer.kill("exchange")
        trial.killer.kill("helpdesk")


async def lose_sessions(trial: Trial) -> None:
    """The database is down and stays down when those wake up for whom events wait."""
    with trial.killer.frozen("exchange", "helpdesk"):
        await trial.crowd.walk("refused")
        trial.killer.kill("postgres")
    await until(lambda: trial.killer.kill("postgres") and False, seconds=8)


async def revoke(trial: Trial) -> None:
    """A licence is issued and later revoked by its department."""
    await trial.crowd.walk("approved")
    rows = (await trial.evidence()).rows("licence", "licence")
    for licence in rows:
        if licence["case_id"]:
            reason = {"action": "revoke", "reason_code": "obtained_by_deceit"}
            await trial.crowd.tell(LEAD, f"/v1/licences/{licence['id']}/status", reason)


async def grant_too_much(trial: Trial) -> None:
    """An administrator gives the running service a right that it must not have."""
    await as_administrator(trial, "payment", lambda role: f"grant update on ledger_entry to {role}")


async def edit_story(trial: Trial) -> None:
    """An administrator writes another name into the story of a case."""
    await as_administrator(
        trial,
        "case",
        lambda _: "update timeline_entry set actor = 'stf_w99' where action = 'accept'",
    )


async def cut_story(trial: Trial) -> None:
    """The end of a story is taken away."""
    await as_administrator(
        trial,
        "case",
        lambda _: "delete from timeline_entry where id = (select max(id) from timeline_entry)",
    )


async def edit_trail(trial: Trial) -> None:
    """A sealed line of the trail names somebody else."""
    await sealed(trial)
    await as_administrator(trial, "case", lambda _: "update staff_action set actor = 'stf_w99'")


async def cut_trail(trial: Trial) -> None:
    """The end of the trail is taken away, with its seals and blocks."""
    await sealed(trial)
    await as_administrator(
        trial,
        "case",
        lambda _: (
            "with last as (delete from audit_block where n = (select max(n) from audit_block) "
            "returning n), gone as (delete from audit_seal where block in (select n from last) "
            "returning row_id) delete from staff_action where id in (select row_id from gone)"
        ),
    )


async def sealed(trial: Trial) -> None:
    """Wait until every line of the trail has its seal."""
    for _ in range(100):
        if not (await trial.evidence()).rows("case", "unsealed"):
            return
        await asyncio.sleep(0.3)


async def as_administrator(trial: Trial, service: str, sql: Callable[[str], str]) -> None:
    """Execute `sql(role of the running service)` in the service's database as its superuser."""
    run = json.loads((trial.data / "run.json").read_text())
    role = urlsplit(run["postgres"][service]).username
    await ask_administrator(trial, service, sql(str(role)))


async def ask_administrator(trial: Trial, service: str, sql: str) -> Sequence[Any]:
    """The rows of a query there."""
    run = json.loads((trial.data / "run.json").read_text())
    parts = urlsplit(run["postgres"][service])
    secret = (trial.data / "postgres" / "superuser.password").read_text()
    host = f"postgres:{secret}@{parts.hostname}:{parts.port}"
    url = urlunsplit((parts.scheme, host, parts.path, "", ""))
    connection = await asyncpg.connect(url, timeout=10, command_timeout=10)
    try:
        rows: Sequence[Any] = await connection.fetch(sql)
        return rows
    finally:
        await connection.close()
