"""Backup, change, restore, equal: on a platform that runs."""

import asyncio
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from beam import VERSION, backups, demo
from beam.faults.trial import trial
from beam.journey.door import Door
from beam.journey.stage import Place, until

from .conftest import later, rows_of

pytestmark = pytest.mark.long
DRAFT = {"item_code": "A05", "region": "310115"}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="beam-backup-") as name:
        yield Path(name)


def beam(
    folder: Path, *arguments: str, data: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "beam", *arguments],
        env={
            **os.environ,
            "BEAM_DATA": str(data or folder / "data"),
            "BEAM_PORT_BASE": str(demo.free_port_base()),
            "BEAM_LANG": "en",
        },
        text=True,
        capture_output=True,
        check=False,
    )


async def open_cases(running: Place, number: int) -> list[str]:
    door = Door(running.gateway, "citizen")
    account = running.accounts["13800000001"]
    await door.sign_in(account["login"], account["password"])
    made = [(await door.call("POST", "/v1/cases", body=DRAFT, status=201)).json()["id"]]
    for _ in range(number - 1):
        made.append((await door.call("POST", "/v1/cases", body=DRAFT, status=201)).json()["id"])
    await door.close()
    return made


async def status_of(running: Place, case: str) -> int:
    door = Door(running.gateway, "citizen")
    account = running.accounts["13800000001"]
    await door.sign_in(account["login"], account["password"])
    answer = await door.call("GET", f"/v1/cases/{case}", status=(200, 404))
    await door.close()
    return answer.status_code


async def exchange_database(data: Path) -> asyncpg.Connection:
    return await asyncpg.connect(
        json.loads((data / "run.json").read_text())["postgres"]["exchange"]
    )


async def count_on(data: Path) -> None:
    """As if the server had done many more transactions before."""
    database = await exchange_database(data)
    await database.execute("""
        do $$ begin
          for i in 1..20000 loop perform pg_current_xact_id(); commit; end loop;
        end $$
    """)
    await database.close()


async def test_what_was_saved_comes_back_and_what_came_later_is_gone(folder: Path):
    saved, again = folder / "saved.tar", folder / "again.tar"
    (folder / "data").mkdir()
    with demo.started(folder / "data") as running:
        await count_on(folder / "data")
        before = await open_cases(running, 3)
        done = beam_live(folder, running, "backup", str(saved))
        assert done.returncode == 0, done.stderr
        assert saved.stat().st_mode & 0o777 == 0o600
        after = await open_cases(running, 2)

        refused = beam_live(folder, running, "restore", str(saved))
        assert refused.returncode == 2
        assert "is running" in refused.stderr + refused.stdout

    done = beam(folder, "restore", str(saved))
    assert done.returncode == 0, done.stdout + done.stderr
    done = beam(folder, "backup", str(again))
    assert done.returncode == 0, done.stdout + done.stderr
    assert rows_of(again) == rows_of(saved)

    with demo.started(folder / "data") as running:
        assert [await status_of(running, case) for case in before] == [200, 200, 200]
        assert [await status_of(running, case) for case in after] == [404, 404]

        async def all_ready() -> bool:
            async with httpx.AsyncClient(trust_env=False) as client:
                answer = await client.get(f"{running.gateway}/health/ready")
            return bool(answer.json()["degraded"] == [])

        await until(all_ready, "not every service is ready after the restore")
        # The new, empty stream is filled from the outboxes, and work goes on over it.
        assert (await demo.show(running, fail=None, speed=0, curls=None, console=_quiet())).ok


async def test_another_server_that_counts_from_anew_hides_nothing_of_the_feed(folder: Path):
    data, saved = folder / "elsewhere", folder / "again.tar"
    done = beam(folder, "restore", str(saved), data=data)
    assert done.returncode == 0, done.stdout + done.stderr
    with demo.started(data):
        database = await exchange_database(data)
        kept = await database.fetchval("select count(*) from feed_entry")
        settled = "writer < pg_snapshot_xmin(pg_current_snapshot())"
        shown = await database.fetchval(f"select count(*) from feed_entry where {settled}")
        await database.close()
    assert kept == shown > 10


EVENTS = {
    "outbox_sent",
    "handled_once",
    "feed_complete",
    "versions",
    "transitions",
    "timeline",
    "ledger_balanced",
}
"""What must hold again. (The outside world has gone on: its books are of a later time than ours,
and differ from them until people look into it.)"""


async def test_a_backup_of_busy_hours_comes_right_by_itself(folder: Path):
    """Events were on their way when it was taken: some sent and not handled, some not sent. After
    the restore the relays fill the new stream, and every handler has every event once."""
    data, saved = folder / "busy", folder / "busy.tar"
    data.mkdir()
    with demo.started(data) as running:
        async with trial(data, seed=1, patience=120) as work:
            enough = asyncio.Event()
            busy = asyncio.create_task(work.crowd.keep_coming(4, enough))
            await until(lambda: later(lambda: len(work.crowd.outcomes) >= 3), "no journeys")
            done = await asyncio.to_thread(
                beam_live, folder, running, "backup", str(saved), data=data
            )
            assert done.returncode == 0, done.stderr
            enough.set()
            await busy
    assert (data / "logs").is_dir()
    done = beam(folder, "restore", str(saved), data=data)
    assert done.returncode == 0, done.stdout + done.stderr
    with demo.started(data):
        async with trial(data, seed=1, patience=120) as work:
            before = await work.evidence()
            open_cases = [r for r in before.rows("case", "case") if r["state"] != "closed"]
            assert open_cases, "nothing was on its way when the backup was taken"
            wrong = await work.settle()
    print(*wrong, sep="\n")
    assert [v for v in wrong if v.check in EVENTS] == []


def beam_live(
    folder: Path, running: Place, *arguments: str, data: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """A command beside the running platform: on its ports."""
    base = httpx.URL(running.gateway).port
    return subprocess.run(
        [sys.executable, "-m", "beam", *arguments],
        env={
            **os.environ,
            "BEAM_DATA": str(data or folder / "data"),
            "BEAM_PORT_BASE": str(base),
            "BEAM_LANG": "en",
        },
        text=True,
        capture_output=True,
        check=False,
    )


def _quiet() -> Any:
    from rich.console import Console

    return Console(file=open(os.devnull, "w"))


def rewritten(saved: Path, target: Path, change: Any) -> Path:
    """The backup with something changed in it."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        with tarfile.open(saved) as archive:
            archive.extractall(place, filter="data")
        change(place)
        with tarfile.open(target, "w") as archive:
            for part in place.iterdir():
                archive.add(part, part.name)
    return target


@pytest.mark.parametrize("kind", ["version", "postgres", "damaged", "missing", "no backup"])
def test_what_cannot_be_trusted_is_refused_and_nothing_is_touched(folder: Path, kind: str):
    saved, data = folder / "saved.tar", folder / "data"

    def older(place: Path) -> None:
        file = place / backups.MANIFEST
        manifest = json.loads(file.read_text()) | {"version": "9.9.0"}
        file.write_text(json.dumps(manifest))

    def other_server(place: Path) -> None:
        file = place / backups.MANIFEST
        manifest = json.loads(file.read_text()) | {"postgres": "12.3"}
        file.write_text(json.dumps(manifest))

    def damage(place: Path) -> None:
        file = place / "databases" / "beam_case.dump"
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)

    def lose(place: Path) -> None:
        (place / "databases" / "beam_payment.dump").unlink()

    odd = folder / f"{kind}.tar"
    if kind == "no backup":
        odd.write_bytes(b"not a tar file")
    else:
        changes = {
            "version": older,
            "postgres": other_server,
            "damaged": damage,
            "missing": lose,
        }
        rewritten(saved, odd, changes[kind])
    before = sorted(p.name for p in data.iterdir())
    done = beam(folder, "restore", str(odd))
    assert done.returncode == 2
    said = done.stdout + done.stderr
    wanted = {
        "version": f"9.9.0, this is {VERSION}",
        "postgres": "The backup is of PostgreSQL 12.3",
        "damaged": "beam_case.dump",
        "missing": "beam_payment.dump",
        "no backup": "no whole backup",
    }
    assert wanted[kind] in said.replace("\n", " ")
    assert sorted(p.name for p in data.iterdir()) == before
