"""The real thing: an installation of its own from deploy/, with engine, containers and TLS door."""

import asyncio
import json
import os
import secrets
import shutil
import ssl
import subprocess
import sys
import tarfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from beam import backups
from beam.journey.door import Door
from beam.journey.stage import until
from kit.embedded import free_port

ROOT = Path(__file__).resolve().parents[2]
DOMAIN = "one-beam.localhost"
LOGIN, PASSWORD = "13800000001", "Beam-demo-2026"
IMAGES = ("python:3.12-slim", "postgres:17-alpine", "nats:2.12-alpine", "caddy:2.11-alpine")


def docker(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(["docker", *arguments], text=True, capture_output=True, check=False)
    assert done.returncode == 0 or not check, f"docker {arguments[0]}: {done.stderr[-2000:]}"
    return done.stdout.strip()


_GIVEN: set[str] = set()
"""Networks of installations of this run, which may not have come up yet."""


@dataclass
class Answers:
    """What came back to a caller who kept asking."""

    good: int = 0
    bad: list[str] = field(default_factory=list)


@dataclass
class Stack:
    """A running installation in a folder of its own."""

    folder: Path
    """deploy/, with .env and secrets."""
    root: Path
    """The code that its host script runs with."""
    project: str
    port: int

    def host(self, *arguments: str) -> str:
        """Run deploy/host.py, as make does; its output."""
        done = self.tried(*arguments)
        assert done.returncode == 0, done.stdout[-4000:]
        return done.stdout

    def tried(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The same, well or not."""
        return subprocess.run(
            [sys.executable, str(self.folder / "host.py"), *arguments],
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            env=self.environ,
        )

    @property
    def environ(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("BEAM_")}
        return kept | {"BEAM_ROOT": str(self.root), "PYTHONUNBUFFERED": "1"}

    @property
    def version(self) -> str:
        """Its image has this tag and this label."""
        return self.project.replace("beam-", "", 1)

    def compose(self, *arguments: str, check: bool = True) -> str:
        return docker(
            "compose", "--project-directory", str(self.folder), "--profile", "*", "-f",
            str(self.folder / "compose.yaml"), *arguments, check=check,
        )  # fmt: skip

    def containers(self, service: str) -> list[str]:
        return self.compose("ps", "-q", service).split()

    def network(self, name: str) -> str:
        return f"{self.project}_{name}"

    @property
    def trust(self) -> ssl.SSLContext:
        file = self.folder / "root.crt"
        inside = "/var/lib/beam-proxy/caddy/pki/authorities/local/root.crt"
        docker("cp", f"{self.containers('proxy')[0]}:{inside}", str(file))
        return ssl.create_default_context(cafile=str(file))

    def caller(self, who: str) -> Door:
        """Somebody outside, on this host: by loopback, but asking for the public name."""
        door = Door(f"https://{DOMAIN}:{self.port}", who)
        door.client = self.client()
        return door

    def client(self, **options: Any) -> httpx.AsyncClient:
        """A program outside, on this host, that keeps cookies as a browser does."""
        return httpx.AsyncClient(
            base_url=f"https://{DOMAIN}:{self.port}",
            transport=_Loopback(httpx.AsyncHTTPTransport(verify=self.trust)),
            timeout=20,
            **options,
        )

    @asynccontextmanager
    async def asked(self, door: Door, request: Any) -> AsyncIterator[Answers]:
        """Keep asking beside what is done in the block: `request(door, n)` gives an answer."""
        answers, end = Answers(), asyncio.Event()

        async def ask(start: int) -> None:
            n = start
            while not end.is_set():
                try:
                    answer = await request(door, n)
                    if answer.is_success:
                        answers.good += 1
                    else:
                        answers.bad.append(f"{answer.status_code} {answer.text[:200]}")
                except httpx.HTTPError as exc:
                    answers.bad.append(f"{type(exc).__name__}: {exc}")
                n += 4
                await asyncio.sleep(0.02)

        tasks = [asyncio.create_task(ask(start)) for start in range(4)]
        try:
            yield answers
        finally:
            end.set()
            await asyncio.gather(*tasks)

    async def healthy(self, service: str, count: int) -> None:
        async def all_there() -> bool:
            states = [
                docker("inspect", "-f", "{{.State.Health.Status}}", c, check=False)
                for c in await asyncio.to_thread(self.containers, service)
            ]
            return states.count("healthy") == count

        await until(all_there, f"{service} does not get healthy", seconds=120)


async def later(question: Any) -> bool:
    """Asked beside the loop: the question waits for programs."""
    return bool(await asyncio.to_thread(question))


async def look_up(door: Any, n: int) -> Any:
    """Another address each time: the door keeps answers, and asks the catalogue for what is new."""
    return await door.client.get("/v1/items/A05", params={"n": secrets.token_hex(6)})


async def open_case(door: Any, n: int) -> Any:
    """A draft; asked again with the same key when the door says that nothing was done."""
    headers = {
        "authorization": f"Bearer {door.token}",
        "idempotency-key": f"{door.token[-8:]}-{n}",
    }
    body = {"item_code": "A05", "region": "310115"}
    return await door.client.post("/v1/cases", json=body, headers=headers)


def rows_of(file: Path) -> dict[str, dict[str, int]]:
    with tarfile.open(file) as archive:
        content = archive.extractfile(backups.MANIFEST)
        assert content is not None
        manifest: dict[str, Any] = json.load(content)
    return {d: v["rows"] for d, v in manifest["databases"].items()}


class _Loopback(httpx.AsyncBaseTransport):
    """Connects to 127.0.0.1 whatever the name; TLS and Host stay with the name."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        there = httpx.Request(
            request.method,
            request.url.copy_with(host="127.0.0.1"),
            headers=request.headers,
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": request.url.host},
        )
        return await self._inner.handle_async_request(there)

    async def aclose(self) -> None:
        await self._inner.aclose()


def engine_or_reason() -> str | None:
    """Why the real thing cannot be tried here; None when it can."""
    if shutil.which("docker") is None:
        return "there is no docker here"
    try:
        done = subprocess.run(["docker", "version"], capture_output=True, check=False, timeout=20)
    except subprocess.TimeoutExpired:
        return "no Docker engine answers"
    if done.returncode != 0:
        return "no Docker engine answers"
    if subprocess.run(
        ["docker", "compose", "version"], capture_output=True, check=False
    ).returncode:
        return "the engine has no Compose plugin"
    for image in IMAGES:
        if not docker("image", "inspect", "-f", "{{.Id}}", image, check=False):
            return f"the image {image} is not here: docker pull {image}"
    return None


def configured(folder: Path, root: Path) -> Stack:
    """An installation that runs beside others: deploy/.env of env.example with its own names,
    port, networks and image."""
    mark = f"{os.getpid()}-{secrets.token_hex(2)}"
    edge, mesh = free_networks()
    stack = Stack(folder, root, f"beam-test-{mark}", free_port())
    values = {
        "BEAM_ISSUER": f"https://{DOMAIN}:{stack.port}",
        "HTTPS_PORT": str(stack.port),
        "BEAM_VERSION": stack.version,
        "COMPOSE_PROJECT_NAME": stack.project,
        "GATEWAY_RATE": "5000",
        "GATEWAY_BURST": "5000",
        "EDGE_SUBNET": edge,
        "MESH_SUBNET": mesh,
    }
    lines = (folder / "env.example").read_text().splitlines()
    if "#START_PERIOD=120s" in lines:  # an older version has none
        values["START_PERIOD"] = "600s"  # the machine may have much else to do
    kept = [x for x in lines if x.partition("=")[0] not in values]
    (folder / ".env").write_text("\n".join([*kept, *(f"{k}={v}" for k, v in values.items()), ""]))
    (folder / ".env").chmod(0o600)
    return stack


def free_networks() -> tuple[str, str]:
    """Two of the engine's that nobody has, nor was given here before."""
    listed = docker("network", "ls", "-q").split()
    shown = docker("network", "inspect", "-f", "{{range .IPAM.Config}}{{.Subnet}} {{end}}", *listed)
    _GIVEN.update(shown.split())
    free = [x for x in (f"172.28.{n}.0/24" for n in range(64, 192)) if x not in _GIVEN]
    chosen = secrets.SystemRandom().sample(free, 2)  # others look, too
    _GIVEN.update(chosen)
    return chosen[0], chosen[1]


def take_down(stack: Stack) -> None:
    """Containers, data and images."""
    stack.compose("down", "-v", "--remove-orphans", "-t", "10", check=False)
    label = f"label=org.opencontainers.image.version={stack.version}"
    for image in set(docker("images", "-q", "--filter", label, check=False).split()):
        docker("image", "rm", "-f", image, check=False)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """make secrets preflight up, in a copy of deploy/; taken down with its data at the end."""
    reason = engine_or_reason()
    if reason is not None:
        pytest.skip(reason)
    root = tmp_path_factory.mktemp("installation")
    source(root)
    running = configured(root / "deploy", root)
    try:
        began = time.monotonic()
        running.host("secrets")
        running.host("preflight")
        print(running.host("up"), f"{time.monotonic() - began:.0f} s from secrets to healthy")
        yield running
    finally:
        take_down(running)


def source(target: Path, commit: str | None = None) -> None:
    """The code as it is here, or as it was at a commit, as an operator has it: without history."""
    if commit is None:
        listed = subprocess.run(
            ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "-z"],
            capture_output=True,
            check=False,
        ).stdout.decode()
        if not listed:  # not a clone: all there is but what grew here
            shutil.copytree(ROOT, target, dirs_exist_ok=True, ignore=_GROWN)
            return
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).exists():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, target / name)
        return
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", commit], capture_output=True, check=True
    )
    subprocess.run(["tar", "-x", "-C", str(target)], input=archive.stdout, check=True)


_GROWN = shutil.ignore_patterns(
    ".venv", ".data", ".git", "secrets", ".env", "__pycache__", ".*_cache"
)
