"""Records that can only be added to, each in a commit of its own, by many writers at once: the
trail of what staff did, while it is sealed; and the story of a case, hash chain and row lock
included, also against pgbench with the same transaction."""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from bench.harness import Bench
from bench.peers import pgbench
from case_svc import forms, timeline
from case_svc.models import Case
from kit import collector, testing
from kit.audit import StaffAction
from kit.embedded import NatsServer
from kit.ids import new_id
from kit.runtime import Runtime
from kit.seals import watch

WRITERS = 16
AT_LEAST = 2000
"""Entries a second."""
TRANSACTION = """\
begin;
select * from "case" where id = 'case_pgbench' || :client_id for update;
insert into timeline_entry
  (id, case_id, case_version, at, action, from_state, to_state, actor, previous, hash)
  values (
    'tl_' || lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0')
      || left(md5(random()::text), 20),
    'case_pgbench' || :client_id, 1, now(), 'note', 'draft', 'draft', 'stf_bench',
    repeat('f', 64), repeat('f', 64));
update "case" set timeline_head = repeat('f', 64), updated_at = now()
  where id = 'case_pgbench' || :client_id;
commit;
"""
"""What the database does for an entry."""


async def run(bench: Bench) -> None:
    with tempfile.TemporaryDirectory() as folder, NatsServer.temporary() as nats:
        place = testing.Ground(Path(folder))
        place.start()
        try:
            async with place.service("case_svc", nats=nats.url) as case:
                await _cases(case.runtime, "case_bench")
                await _cases(case.runtime, "case_pgbench")
                collector.quieten()  # as every service does that is served
                runtime, turns = case.runtime, range(bench.rounds + 1)
                trail = [await _write(runtime, bench.seconds, _act) for _ in turns]
                rates, limits = [], []
                for _ in turns:
                    rates.append(await _write(runtime, bench.seconds, _tell))
                    if pgbench.find() is not None:
                        limits.append(await asyncio.to_thread(_limit, bench, runtime))
                await _check(runtime)
        finally:
            place.stop()
    rate = statistics.median(trail[1:])
    bench.add(
        "audit-appends",
        f"entries to the sealed trail of staff's actions / {AT_LEAST} a second, {WRITERS} writers",
        rate / AT_LEAST,
        1.0,
        note=f"{rate:.0f}/s, one commit each; every seal holds",
        rate=rate,
    )
    of_trail = statistics.median(rates[1:]) / rate
    rate = statistics.median(rates[1:])
    bench.add(
        "story-appends",
        f"entries to the story of cases / {AT_LEAST} a second, {WRITERS} writers",
        rate / AT_LEAST,
        1.0,
        note=f"{rate:.0f}/s, one commit each; {of_trail:.2f} of the trail's",
        rate=rate,
    )
    if not limits:
        bench.skip("story-pgbench", "the wheel of PostgreSQL has no pgbench")
        return
    bench.add(
        "story-pgbench",
        f"entries to the story of cases / their transaction by pgbench, {WRITERS} writers",
        statistics.median(ours / limit for ours, limit in zip(rates[1:], limits[1:], strict=True)),
        0.25,
        note=f"{rate:.0f}/s against {statistics.median(limits[1:]):.0f}/s",
    )


def _limit(bench: Bench, runtime: Runtime) -> float:
    """How many such transactions a second pgbench gets through."""
    script = bench.folder / "story.sql"
    script.write_text(TRANSACTION)
    url = runtime.engine.url.set(drivername="postgresql", query={})
    dsn = url.render_as_string(hide_password=False)
    return pgbench.rate(dsn, script, clients=WRITERS, seconds=bench.seconds)[0]


async def _cases(runtime: Runtime, prefix: str) -> None:
    async with runtime.sessions.begin() as session:
        for number in range(WRITERS):
            id_ = f"{prefix}{number}"
            row = {"id": id_, "state": "draft", "version": 1, "region": "310115", "dept": "SAMR"}
            row |= {"item_code": "A05", "item_name": "-", "item": {}, "applicant_id": "acc_bench"}
            row |= {"applicant_kind": "person", "channel": "web", "delivery": "none"}
            form = forms.sealed(runtime.vault, id_, {})
            await session.execute(insert(Case).values(**row, form=form))


async def _act(session: AsyncSession, number: int) -> None:
    things = {"case_id": f"case_bench{number}"}
    row = StaffAction(id=new_id("act"), actor="stf_bench", action="bench", things=things)
    session.add(row)


async def _tell(session: AsyncSession, number: int) -> None:
    case = await session.get_one(Case, f"case_bench{number}", with_for_update=True)
    timeline.note(session, case, "note", timeline.By("stf_bench"))


async def _write(
    runtime: Runtime, seconds: float, add: Callable[[AsyncSession, int], Awaitable[None]]
) -> float:
    end = time.perf_counter() + seconds

    async def writer(number: int) -> int:
        written = 0
        while time.perf_counter() < end:
            async with runtime.sessions.begin() as session:
                await add(session, number)
            written += 1
        return written

    began = time.perf_counter()
    written = sum(await asyncio.gather(*map(writer, range(WRITERS))))
    return written / (time.perf_counter() - began)


async def _check(runtime: Runtime) -> None:
    async with runtime.sessions() as session:
        ours = select(Case).filter(Case.id.startswith("case_bench"))
        for case in (await session.scalars(ours)).all():
            entries = await timeline.entries(session, case.id)
            if timeline.broken_at(entries, case.timeline_head) is not None:
                raise RuntimeError(f"the story of {case.id} does not hold")
    await watch.seal_trails(runtime)
    async with runtime.sessions() as session:
        findings = await watch.verify(session, watch.of(runtime).chain)
    if findings:
        raise RuntimeError(f"the seals do not hold: {findings[:3]}")
