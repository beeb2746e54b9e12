"""Every command of both READMEs is true: run in order, in the shell, as a newcomer would."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from beam.demo import free_port_base

ROOT = Path(__file__).parents[2]
START_SECONDS = 240


def blocks(readme: str) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", (ROOT / readme).read_text(), re.M | re.S)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """`make run` in one terminal; gives the environment of the second one."""
    data = Path(tmp_path_factory.mktemp("readme")) / "data"
    base = free_port_base()
    # A newcomer's shell knows nothing of the `make` that runs these tests.
    of_make = ("ARGS", "MAKEFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "MFLAGS")
    env = {name: value for name, value in os.environ.items() if name not in of_make}
    env |= {"BEAM_DATA": str(data), "BEAM_PORT_BASE": str(base)}
    with (data.parent / "run.log").open("wb") as log:
        process = subprocess.Popen(
            ["make", "run"],
            cwd=ROOT,
            env=env,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    end = time.monotonic() + START_SECONDS
    while not (data / "run.json").exists():
        told = (data.parent / "run.log").read_text(errors="replace")
        assert process.poll() is None, told[-2000:]
        assert time.monotonic() < end, told[-2000:]
        time.sleep(0.2)
    yield env
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does on Ctrl-C
    process.wait(60)
    told = (data.parent / "run.log").read_text(errors="replace")
    assert "已全部停止" in told, "Ctrl-C ends it in good order"
    assert not (data / "run.json").exists(), "nothing pretends to run any more"


def told_by(command: str, env: dict[str, str]) -> str:
    """What the command prints; it must succeed. The ports and the folder are this test's own."""
    command = command.replace("127.0.0.1:8000", f"127.0.0.1:{env['BEAM_PORT_BASE']}")
    command = command.replace(".data/run.json", f"{env['BEAM_DATA']}/run.json")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
    return done.stdout


def test_both_readmes_have_the_same_commands() -> None:
    assert blocks("README.md") == blocks("README.zh-CN.md")
    assert blocks("README.md")[:3] == ["make run\n", "make demo\n", "make test\n"]


def test_every_command_works(started: dict[str, str]) -> None:
    for block in blocks("README.md"):
        match block:
            case "make run\n":
                continue
            case "make test\n":
                assert "pytest" in told_by("make -n test", started)
            case _:
                told = told_by(block, started)
                if block.startswith("curl"):
                    assert '"items":' in told
                    assert '"state":"draft"' in told
                    assert '"openapi": "3.1.0"' in told or '"openapi":"3.1.0"' in told
                if "partner_consumer" in block:
                    assert told.count("cn.beam.") == 3


def test_links_of_the_pages_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*-svc/README.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} → {target}"
