"""`make upgrade` from an older version to this one while people work, and back again."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from beam.journey.stage import until

from .conftest import (
    LOGIN,
    PASSWORD,
    ROOT,
    Stack,
    configured,
    docker,
    engine_or_reason,
    later,
    look_up,
    open_case,
    source,
    take_down,
)

pytestmark = pytest.mark.long


def _before() -> str:
    """The version to come from: the first whose `init` leaves a newer database as it is, known by
    the test that came with it. Empty where the history does not reach back so far."""
    asked = ["log", "--diff-filter=A", "--format=%H", "-1", "--", "tests/kit/test_migrations.py"]
    found = subprocess.run(
        ["git", "-C", str(ROOT), *asked], capture_output=True, text=True, check=False
    )
    return found.stdout.strip()


BEFORE = os.environ.get("BEAM_UPGRADE_FROM") or _before()


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running installation of the version before."""
    reason = engine_or_reason()
    if reason is not None:
        pytest.skip(reason)
    if not BEFORE:
        pytest.skip("the history of this code does not reach back to the version to come from")
    root = tmp_path_factory.mktemp("older")
    source(root, BEFORE)
    stack = configured(root / "deploy", root)
    try:
        stack.host("secrets")
        stack.host("up")
        yield stack
    finally:
        take_down(stack)


def new_code(stack: Stack) -> None:
    """What `git pull` does: all is replaced but .env, secrets and backups."""
    for path in stack.root.iterdir():
        if path.name == "deploy":
            for part in path.iterdir():
                if part.name not in (".env", "secrets", "backups"):
                    shutil.rmtree(part) if part.is_dir() else part.unlink()
        elif path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    source(stack.root)


def images(stack: Stack) -> dict[str, str]:
    """Service → image of its container, of those that are our programs."""
    rows = stack.compose("ps", "--format", "{{.Service}} {{.ID}}").splitlines()
    return {
        service: docker("inspect", "-f", "{{.Image}}", container)
        for service, container in map(str.split, rows)
        if service not in ("postgres", "nats", "proxy")
    }


def migrations(stack: Stack) -> dict[str, str]:
    """Database → version of its tables."""
    names = stack.compose(
        "exec", "-T", "postgres", "psql", "-U", "postgres", "-Atc",
        "select datname from pg_database where datname like 'beam%'",
    ).split()  # fmt: skip
    return {
        name: stack.compose(
            "exec", "-T", "postgres", "psql", "-U", "postgres", "-d", name, "-Atc",
            "select version_num from alembic_version",
        )
        for name in names
    }  # fmt: skip


async def told(stack: Stack, *arguments: str, smoke_after: tuple[str, ...] = ()) -> str:
    """Run deploy/host.py and give what it says. When it has replaced one of `smoke_after`, a whole
    journey begins beside it: through services of both versions."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(stack.folder / "host.py"), *arguments,
        env=stack.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    lines, journeys = [], []
    async for raw in process.stdout:
        lines.append(raw.decode())
        if lines[-1].startswith(tuple(f"✓ {name}: " for name in smoke_after)):
            journeys.append(
                asyncio.create_task(
                    asyncio.to_thread(stack.compose, "run", "--rm", "--no-deps", "smoke")
                )
            )
    assert await process.wait() == 0, "".join(lines)[-4000:]
    assert len(journeys) == len(smoke_after)
    for journey in journeys:
        assert "全部通过" in await journey
    return "".join(lines)


async def test_nobody_notices_an_upgrade_nor_the_way_back(older: Stack):
    stack, door = older, older.caller("citizen")
    await door.sign_in(LOGIN, PASSWORD)
    old, before = images(stack), migrations(stack)
    assert len(old) >= 10
    new_code(stack)
    async with stack.asked(door, open_case) as cases, stack.asked(door, look_up) as looks:
        await until(lambda: later(lambda: cases.good > 20 and looks.good > 20), "no answers")
        said = await told(stack, "upgrade", smoke_after=("case", "payment", "exchange"))
        seen = cases.good
        await until(lambda: later(lambda: cases.good > seen + 20), "no answers after it")
    assert "will be restarted" not in said, "only settings of the database or the door do that"
    assert cases.bad == []
    assert looks.bad == []
    assert "全部通过" in said
    new = images(stack)
    assert set(new) == set(old)
    assert set(new.values()).isdisjoint(old.values())
    assert len(set(new.values())) == 1
    after = migrations(stack)
    assert set(after) == set(before)
    assert all(after[name] >= version for name, version in before.items())

    # And back, as the last lines say: the program of before on the tables of now.
    tag = re.search(r"BEAM_VERSION=(before-[\d-]+)", said)
    backup = re.search(r"make restore FILE=(\S+)", said)
    assert tag is not None
    assert backup is not None
    assert list((stack.folder / "backups").iterdir()) == [
        stack.folder / "backups" / Path(backup[1]).name
    ]
    file = stack.folder / ".env"
    file.write_text(re.sub(r"(?m)^BEAM_VERSION=.*$", f"BEAM_VERSION={tag[1]}", file.read_text()))
    async with stack.asked(door, open_case) as cases:
        await told(stack, "roll", "all", smoke_after=("case", "payment"))
        await told(stack, "up")
    assert cases.bad == []
    assert set(images(stack).values()) == set(old.values())
    assert migrations(stack) == after
    assert "全部通过" in stack.compose("run", "--rm", "--no-deps", "smoke")
    await door.close()
