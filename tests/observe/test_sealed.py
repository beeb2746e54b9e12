"""The sealed records of a whole platform: whole after a journey, and whoever changes one behind the
programs' back is found by the service itself, by the operators' page and by the command."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from beam.journey.stage import Stage, until

from .conftest import Seen

pytestmark = pytest.mark.slow


@pytest.fixture
async def stage(seen: Seen) -> AsyncIterator[Stage]:
    stage = Stage(seen.place)
    yield stage
    await stage.close()


def beam(seen: Seen, *arguments: str) -> tuple[int, str]:
    """`beam audit …` on the platform's data folder: exit code and what it printed."""
    base = urlsplit(seen.place.gateway).port
    environment = {**os.environ, "BEAM_DATA": str(seen.data), "BEAM_PORT_BASE": str(base)}
    command = [sys.executable, "-m", "beam", "audit", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


async def administrator(seen: Seen, service: str) -> asyncpg.Connection:
    parts = urlsplit(seen.run["postgres"][service])
    return await asyncpg.connect(
        host=parts.hostname,
        port=parts.port,
        user="postgres",
        password=(seen.data / "postgres" / "superuser.password").read_text(),
        database=parts.path.strip("/"),
    )


async def test_a_changed_line_is_found_by_itself_by_the_page_and_by_the_command(
    seen: Seen, stage: Stage
) -> None:
    door = await stage.door("operator", "o01")

    async def sealed() -> Any:
        page = await door.get("/v1/ops")
        audit = {s: state["checks"]["audit"] for s, state in page["services"].items()}
        heads = page["services"]["exchange"]["checks"]["audit_heads"]["heads"]
        known = audit["case"]["anchored"] and heads.get("case", {}).get("block")
        return page if audit["case"]["state"] == "whole" and known else None

    page = await until(sealed, "nothing is sealed", seconds=60)
    assert page["failed_checks"] == []
    assert page["services"]["payment"]["checks"]["audit"]["blocks"] > 0  # the bookings
    assert Path(seen.data / "audit" / "case.jsonl").exists()
    code, text = beam(seen, "verify")
    assert code == 0, text
    assert text.count("✓") == 8

    connection = await administrator(seen, "case")
    try:
        row = await connection.fetchval(
            "update staff_action set dept = 'TAX' where id = (select min(row_id) from audit_seal "
            "where trail = 'staff_action') returning id"
        )

        async def alarmed() -> Any:
            page = await door.get("/v1/ops")
            return page if "case/audit" in page["failed_checks"] else None

        page = await until(alarmed, "nobody sees it", seconds=60)
        [finding] = page["services"]["case"]["checks"]["audit"]["findings"]
        assert (finding["kind"], finding["table"], finding["row"]) == (
            "edited",
            "staff_action",
            row,
        )
        assert 'beam_check_ok{check="audit",service="case"} 0.0' in seen.figures()["case"]
        code, text = beam(seen, "verify", "case")
        assert (code, row in text, "记录被改动" in text) == (1, True, True), text
    finally:
        await connection.execute(
            "update staff_action set dept = 'SAMR' where id = $1 and dept = 'TAX'", row
        )
        await connection.close()

    async def whole() -> Any:
        return "case/audit" not in (await door.get("/v1/ops"))["failed_checks"]

    await until(whole, "it stays red", seconds=60)
    code, text = beam(seen, "accept", "case", "--reason", "put back from the paper file")
    assert code == 0, text
    code, text = beam(seen, "verify", "case")
    assert code == 0, text


async def test_who_makes_the_tail_anew_is_named_by_those_who_were_told_of_it(
    seen: Seen, stage: Stage
) -> None:
    """With the rights of the database and of the folder where heads are written down, somebody
    takes the last block away: the service seals another in its place, and finds nothing."""
    door = await stage.door("operator", "o01")

    async def heads() -> Any:
        checks = (await door.get("/v1/ops"))["services"]["exchange"]["checks"]
        return checks["audit_heads"]

    connection = await administrator(seen, "payment")
    try:
        async with connection.transaction():
            await connection.execute("select pg_advisory_xact_lock(hashtext('seals'))")
            last = await connection.fetchval("select max(n) from audit_block")
            assert last is not None

            async def told() -> bool:
                return (await heads())["heads"].get("payment", {}).get("block") == last

            await until(told, "the exchange does not hear of the last block")
            await connection.execute("delete from audit_block where n = $1", last)
            await connection.execute("delete from audit_seal where block = $1", last)
            file = seen.data / "audit" / "payment.jsonl"
            lines = [line for line in file.read_text().splitlines() if line]
            kept = [line for line in lines if json.loads(line)["block"] < last]
            file.write_text("".join(f"{line}\n" for line in kept))
        place = f"payment {last}"

        async def named() -> bool:
            return (await heads())["broken"] == [place]

        await until(named, "nobody sees the fork", seconds=60)
        page = await door.get("/v1/ops")
        assert "exchange/audit_heads" in page["failed_checks"]
        assert "payment/audit" not in page["failed_checks"], "it cannot know"
        code, text = beam(seen, "verify", "payment")
        assert (code, f"payment 第 {last} 块" in text, "末尾被改写" in text) == (1, True, True), (
            text
        )
    finally:
        await connection.close()
    code, text = beam(seen, "accept", "payment", "--reason", "made by a test")
    assert code == 0, text

    async def green() -> bool:
        return bool((await heads())["ok"])

    await until(green, "the exchange does not hear that somebody looked", seconds=60)
    assert beam(seen, "verify", "payment")[0] == 0


async def test_a_service_that_is_none_is_named(seen: Seen) -> None:
    code, text = beam(seen, "verify", "tax")
    assert code == 2
    assert "tax" in text
