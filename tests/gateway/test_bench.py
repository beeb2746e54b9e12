"""The benchmark's own loader, and what it makes of its measurements."""

import asyncio
import sys
from pathlib import Path

from .conftest import Recorder

ROOT = Path(__file__).resolve().parents[2]


async def _python(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def test_the_own_loader_counts_what_was_answered(recorder: Recorder) -> None:
    url = f"http://127.0.0.1:{recorder.port}/v1/items/a"
    out = await _python("-m", "bench.load", url, "3", "0.4", "X-Load: yes")
    rps, requests, p50, p99, errors = map(float, out.split())
    assert requests > 3
    assert 0 < len(recorder.seen) - requests <= 3
    assert recorder.seen[0].header("x-load") == ["yes"]
    assert rps > 0
    assert 0 < p50 <= p99
    assert errors == 0


async def test_the_own_loader_counts_refusals_as_errors(recorder: Recorder) -> None:
    url = f"http://127.0.0.1:{recorder.port}/v1/items/404"
    out = await _python("-m", "bench.load", url, "1", "0.2")
    assert int(out.split()[1]) == int(out.split()[4]) > 0


async def test_a_target_says_on_which_side_it_is_met() -> None:
    code = (
        "from bench.harness import Bench\n"
        "b = Bench(quick=True)\n"
        "b.add('a', 'a', 0.5, 0.4); b.add('b', 'b', 0.3, 0.4)\n"
        "b.add('c', 'c', 0.5, 0.4, at_least=False); b.add('d', 'd', 0.3, 0.4, at_least=False)\n"
        "b.add('e', 'e', None, 0.4); b.close()\n"
        "print([r['ok'] for r in b.report()['targets']])\n"
    )
    out = await _python("-c", code)
    assert out.splitlines()[-1] == "[True, False, False, True, None]"
