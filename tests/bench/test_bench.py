"""The benchmark's arithmetic and its own loader, which nobody would notice when wrong."""

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench import load
from bench.harness import Bench, Sample, Started


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench(quick=True)
    yield made
    made.close()


def test_a_ratio_is_the_median_over_the_rounds_without_the_first(bench: Bench) -> None:
    base = iter([Sample(1, 0, 1, 1), *(Sample(100, 1, 2, 30) for _ in range(3))])
    ours = iter([Sample(9e9), *(Sample(rps, 1, 3, 60) for rps in (40, 60, 50))])
    found = bench.alternate({"base": lambda: next(base), "ours": lambda: next(ours)})
    assert found["base"]["ratio"] == 1
    assert found["ours"]["ratio"] == 0.5
    assert found["ours"]["cpu_ratio"] == 0.5
    assert found["ours"]["p99_ratio"] == 1.5


def test_a_target_is_met_on_its_own_side(bench: Bench) -> None:
    bench.add("a", "", 0.5, 0.45)
    bench.add("b", "", 0.4, 0.45)
    bench.add("c", "", 0.4, 0.45, at_least=False)
    bench.add("d", "", None, 0.45)
    assert [result.ok for result in bench.results] == [True, False, True, None]


@pytest.mark.parametrize("tool", ["wrk", "own"])
async def test_every_post_has_a_key_of_its_own(
    bench: Bench, tool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if tool == "wrk" and load.tool() != "wrk":
        pytest.skip("no wrk on this machine (Debian: apt-get install wrk)")
    if tool == "own":
        monkeypatch.setattr(load.shutil, "which", lambda _: None)
    keys: Counter[bytes] = Counter()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            length, key = 0, b""
            assert line.startswith(b"POST /v1/cases ")
            while (header := await reader.readline()) not in (b"\r\n", b""):
                name, _, value = header.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
                if name.lower() == b"idempotency-key":
                    key = value.strip()
            if not length:
                break
            assert await reader.readexactly(length) == b'{"a":1}'
            keys[key] += 1
            writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}/v1/cases"
    got = await asyncio.to_thread(
        load.fire, url, connections=3, seconds=1, headers={"X-A": "b"}, body='{"a":1}'
    )
    server.close()
    assert got.errors == 0
    assert got.requests > 0
    assert set(keys.values()) == {1}


def test_a_program_without_a_port_is_there_when_it_speaks(bench: Bench) -> None:
    with bench.programs():
        speak = "import time; print('ready', flush=True); time.sleep(60)"
        started = bench.start("speaker", [sys.executable, "-c", speak], None, tested=None)
        assert isinstance(started, Started)
        assert started.process.poll() is None
        assert Path(f"/proc/{started.process.pid}").exists() or sys.platform != "linux"
    assert started.process.poll() is not None
