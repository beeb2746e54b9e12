"""`beam demo`: the main journey against a running platform, or one started just for it."""

import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
from rich.console import Console

from kit.embedded.process import port_taken

from .journey.door import Door
from .journey.play import APPROVAL, REFUSAL, REFUSED, Report, play
from .journey.stage import Durable, Stage
from .journey.stage import Place as Running
from .journey.steps import APPROVED
from .journey.view import View
from .programs import NATS_OFFSET, POSTGRES_OFFSET, PROGRAMS
from .trouble import Trouble

START_SECONDS = 120


async def show(
    running: Running, *, fail: str | None, speed: float, curls: list[str] | None, console: Console
) -> Report:
    """Play the journey with a live view; `fail="pay"` plays the refusal that refunds."""
    sequence, wanted = (REFUSAL, REFUSED) if fail == "pay" else (APPROVAL, APPROVED)
    stage = Stage(running, curls)
    async with _departments(running) as (lead, fire):
        with View(console, sequence, [lead, fire]) as view:
            try:
                report = await play(stage, sequence, wanted, view.watch, lead, fire, pause=speed)
            finally:
                await stage.close()
        view.close(report, running.gateway)
    return report


@contextlib.asynccontextmanager
async def _departments(running: Running) -> AsyncIterator[tuple[Durable, Durable]]:
    async with (
        Durable(running.partners["SAMR-demo"]) as lead,
        Durable(running.partners["FIRE-demo"]) as fire,
    ):
        yield lead, fire


@contextlib.contextmanager
def platform(console: Console) -> Iterator[Running]:
    """The running platform of this data folder, or one that lives as long as the demo."""
    run_file = Path(os.environ.get("BEAM_DATA", ".data")) / "run.json"
    if run_file.exists():
        running = Running.read(run_file)
        if _answers(running.gateway):
            yield running
            return
    console.print("平台没有运行,临时启动一个(用完即停,数据不保留)…")
    with tempfile.TemporaryDirectory(prefix="beam-demo-") as folder, started(Path(folder)) as found:
        yield found


def _answers(gateway: str) -> bool:
    try:
        return httpx.get(f"{gateway}/health/live", timeout=2, trust_env=False).is_success
    except httpx.TransportError:
        return False


def free_port_base() -> int:
    """A base above which every port that the platform takes is free right now."""
    offsets = [*(program.offset for program in PROGRAMS), NATS_OFFSET, POSTGRES_OFFSET]
    while True:
        base = random.randrange(20_000, 32_000, 50)  # nosemgrep: guessable-random
        if not any(port_taken(base + offset) for offset in offsets):
            return base


@contextlib.contextmanager
def started(data: Path, **environment: str) -> Iterator[Running]:
    """A platform of its own on free ports in `data`, stopped at the end. Raises Trouble when it
    does not come up."""
    env = os.environ | {
        "BEAM_DATA": str(data),
        "BEAM_PORT_BASE": str(free_port_base()),
        **environment,
    }
    with (data.parent / f"{data.name}.log").open("w+b") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "beam", "run"],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            run_file, end = data / "run.json", time.monotonic() + START_SECONDS
            while not run_file.exists():
                if process.poll() is not None or time.monotonic() > end:
                    log.seek(0)
                    told = log.read()[-1500:].decode(errors="replace")
                    raise Trouble(f"平台没有启动成功:\n{told}", f"It did not start:\n{told}")
                time.sleep(0.1)
            yield Running.read(run_file)
        finally:
            process.terminate()
            process.wait(30)
            Path(log.name).unlink()


def token(login: str) -> str:
    """An access token of a demo account, got as an app gets it: authorization code with PKCE.

    Raises Trouble when nothing runs here or the account is none of the demo's.
    """
    run_file = Path(os.environ.get("BEAM_DATA", ".data")) / "run.json"
    running = Running.read(run_file) if run_file.exists() else None
    if running is None or not _answers(running.gateway):
        raise Trouble("平台没有运行。请先执行 make run。", "Nothing runs here. Start it: make run.")
    account = running.accounts.get(login)
    if account is None:
        raise Trouble(
            f"没有演示账号 {login}。可选:{'、'.join(running.accounts)}。",
            f"There is no demo account {login}. There are: {', '.join(running.accounts)}.",
        )

    async def sign_in() -> str:
        door = Door(running.gateway, login)
        try:
            await door.sign_in(account["login"], account["password"])
        finally:
            await door.close()
        return door.token

    return asyncio.run(sign_in())


def run(
    *,
    fail: str | None,
    speed: float,
    json_file: Path | None,
    curl_file: Path | None,
) -> int:
    """The command: 0 only if every assertion held."""
    console = Console(highlight=False)
    curls: list[str] | None = [] if curl_file else None
    with platform(console) as running:
        report = asyncio.run(show(running, fail=fail, speed=speed, curls=curls, console=console))
    if json_file is not None:
        json_file.write_text(json.dumps(report.as_json(), ensure_ascii=False, indent=1))
    if curl_file is not None and curls is not None:
        curl_file.write_text("\n".join(curls) + "\n")
        console.print(f"每一步的 curl 在 {curl_file}")
    return 0 if report.ok else 1
