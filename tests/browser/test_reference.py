"""The pages of the gateway in a real browser that can reach nothing but 127.0.0.1."""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvicorn

from gateway import server
from gateway.settings import GatewaySettings

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here"),
]


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[str]:
    settings = GatewaySettings(environment="test", gateway_port=0, gateway_rate=0)
    running = uvicorn.Server(server.config(settings))
    task = asyncio.create_task(running.serve())
    while not running.started:
        if task.done():
            task.result()
        await asyncio.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
    finally:
        running.should_exit = True
        await task


async def look(url: str, folder: Path) -> tuple[str, list[str], list[str]]:
    """The document after its scripts, what the console said, and what the page asked for."""
    assert CHROMIUM is not None
    browser = await asyncio.create_subprocess_exec(
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        f"--user-data-dir={folder / 'profile'}",
        f"--log-net-log={folder / 'net.json'}",
        "--enable-logging=stderr",
        "--virtual-time-budget=10000",
        "--dump-dom",
        url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    document, told = await browser.communicate()
    console = [line for line in told.decode().splitlines() if "CONSOLE" in line]
    text = (folder / "net.json").read_text()
    try:
        events = json.loads(text)["events"]
    except ValueError:  # a log that was cut off at the end of the browser
        events = json.loads(text.rstrip().rstrip(",") + "]}")["events"]
    asked = [
        event["params"]["url"]
        for event in events
        # The browser's own errands have no initiator, or one that is no page of ours.
        if event.get("params", {}).get("initiator", "").startswith("http://127.0.0.1")
        and "url" in event["params"]
    ]
    return document.decode(), console, asked


async def test_the_console_is_heard(tmp_path: Path) -> None:
    _, console, _ = await look("data:text/html,<script>console.error('heard')</script>", tmp_path)
    assert "heard" in "".join(console)


@pytest.mark.parametrize("path", ["/", "/docs", "/docs/events", "/docs/errors"])
async def test_a_page_is_quiet_and_asks_nobody_else(path: str, tmp_path: Path) -> None:
    async with served() as address:
        document, console, asked = await look(address + path, tmp_path)
    assert console == []
    assert [url for url in asked if not url.startswith(address + "/")] == []
    assert "<h1" in document or "opblock-tag-section" in document
    if path == "/docs":
        assert f"{address}/openapi.json" in asked
        assert "/openapi.json" in document
        assert 'id="operations-tag-catalog"' in document
