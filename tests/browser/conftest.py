"""Identity and the catalogue behind the gateway, people for every page, and one Chromium."""

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from catalog_svc import seed as items
from catalog_svc.main import create_app as create_catalog
from catalog_svc.settings import Settings as CatalogSettings
from gateway import server
from gateway.settings import GatewaySettings
from identity_svc import accounts, clients, firms, seed
from identity_svc.main import create_app
from identity_svc.passwords import Passwords
from identity_svc.settings import Settings
from kit.runtime import Runtime
from kit.testing import Ground, serve
from sandbox.testing import Sandbox, free_port, sandbox

HERE = Path(__file__).parent
SECONDS = 480
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
FIRM = {"uscc": "91310115MA1K3AB43E", "name": "上海浦江味道餐饮管理有限公司"}
ZHANG_ID = "310115199003077411"
UNPROVEN = (
    ("王五", "11010519491231002X", "13900000001"),
    ("赵六", "440524188001010014", "13900000002"),
    ("吴七", "110105194912310046", "13900000003"),
    ("郑八", "110105194912310062", "13900000004"),
)
"""For each view: Chinese, English, and both in the elder edition."""
PROVEN = tuple(f"1391111000{n}" for n in range(8))
"""Numbers of people who sign in or set a password by a code, each once a minute at most."""


async def run(*command: str, cwd: Path, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Exit code, output and errors of a program."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), SECONDS)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        raise
    return process.returncode or 0, out.decode(), err.decode()


@pytest.fixture(scope="session")
async def scripts() -> Path:
    """A folder of the user's cache with our scripts, playwright-core and axe-core."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium here")
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    lock = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "beam-tests" / f"browser-{lock}"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "node_modules" / "axe-core").is_dir():
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, folder / name)
        quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
        code, _, said = await run("npm", "ci", *quiet, cwd=folder)
        if code:
            shutil.rmtree(folder / "node_modules", ignore_errors=True)
            pytest.skip(f"playwright-core cannot be installed here: {said.strip()[-200:]}")
    for script in HERE.glob("*.mjs"):
        shutil.copy(script, folder / script.name)
    return folder


@dataclass
class Street:
    """The gateway's address, and identity behind it."""

    issuer: str
    runtime: Runtime
    app_port: int
    """Where the scripts' own app takes people back."""
    facts: dict[str, Any]
    """What the scripts need to know."""


@pytest.fixture(scope="session")
async def outside(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    """The simulated outside world as a process of its own."""
    async with sandbox(tmp_path_factory.mktemp("outside")) as running:
        yield running


@pytest.fixture(scope="session")
async def street(ground: Ground, outside: Sandbox) -> AsyncIterator[Street]:
    """One identity and one gateway for all pages. The issuer is a name: at a bare address
    browsers know no passkeys."""
    port, own, app_port = free_port(), free_port(), free_port()
    issuer = f"http://localhost:{port}"
    async with contextlib.AsyncExitStack() as stack:
        nats = await stack.enter_async_context(ground.nats())
        settings: dict[str, Any] = {
            "environment": "test",
            "database_url": await ground.database("identity_svc"),
            "nats_url": nats,
            "issuer": issuer,
            "vault_key_file": ground.vault_file,
            "sms_keys": outside.keys / "sms",
            "sms_base_url": outside.url,
            "citizens_keys": outside.keys / "citizens",
            "citizens_base_url": outside.url,
            "enterprises_keys": outside.keys / "enterprises",
            "enterprises_base_url": outside.url,
            "registrations_per_address": 1000,
        }
        app = create_app(Settings(**settings))
        behind = await stack.enter_async_context(serve(app, port=own))
        catalog = create_catalog(
            CatalogSettings(
                environment="test",
                issuer=issuer,
                database_url=await ground.database("catalog_svc"),
                nats_url=nats,
                vault_key_file=ground.vault_file,
            )
        )
        beside = await stack.enter_async_context(serve(catalog))
        await items.seed(catalog.state.runtime)
        await stack.enter_async_context(_gateway(issuer, port, behind, beside))
        facts = await _people(app.state.runtime, outside, f"http://127.0.0.1:{app_port}")
        facts |= {"issuer": issuer, "identity": behind, "sandbox": outside.url, "port": app_port}
        yield Street(issuer, app.state.runtime, app_port, facts)


@contextlib.asynccontextmanager
async def _gateway(issuer: str, port: int, identity: str, catalog: str) -> AsyncIterator[None]:
    settings = GatewaySettings(
        environment="test",
        gateway_port=port,
        gateway_rate=0,
        issuer=issuer,
        identity_url=identity,
        catalog_url=catalog,
        jwks_url=f"{identity}/.well-known/jwks.json",
    )
    running = uvicorn.Server(server.config(settings))
    running.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(running.serve())
    while not running.started:
        if task.done():
            task.result()
        await asyncio.sleep(0.02)
    try:
        yield
    finally:
        running.should_exit = True
        await task


async def _people(runtime: Runtime, outside: Sandbox, app: str) -> dict[str, Any]:
    """Who signs in, for which applications."""
    await seed.seed(runtime)
    passwords = Passwords(threads=1)
    hashed = await passwords.hash(seed.DEMO_PASSWORD)
    passwords.close()
    back = f"{app}/callback"
    async with runtime.sessions.begin() as session:
        ours = clients.app("browser-app", "随身办", "City in your pocket", [back])
        await clients.put(session, {**ours, "logout_uris": [f"{app}/bye"]})
        foreign = await clients.register(
            session,
            name="邻里帮",
            name_en="Neighbours",
            redirect_uris=[back],
            scopes=["openid", "profile"],
            keys=[],
            by="stf_o01",
        )
        for name, number, phone in UNPROVEN:
            await accounts.register(
                session,
                runtime.vault,
                name=name,
                id_number=number,
                phone=phone,
                password_hash=hashed,
            )
        for phone in PROVEN:
            await accounts.register(
                session,
                runtime.vault,
                name="周小妹",
                phone=phone,
                level="L1",
                password_hash=hashed,
            )
    for name, number, _ in UNPROVEN:
        await outside.sim("citizens", id_number=number, name=name)
    await outside.sim("enterprises", **FIRM, representative=ZHANG_ID)
    register = runtime.parts["outside"].firms
    await firms.claim(runtime.sessions, runtime.vault, register, person_id="acc_zhangsan", **FIRM)
    return {
        "foreign": foreign.client_id,
        "password": seed.DEMO_PASSWORD,
        "unproven": [phone for _, _, phone in UNPROVEN],
        "proven": list(PROVEN),
        "chromium": CHROMIUM,
    }


async def played(street: Street, scripts: Path, *scenes: str) -> dict[str, Any]:
    """What the browser found in these scenes: name → {"looks": [...], "problems": [...]}."""
    told = json.dumps({**street.facts, "scenes": list(scenes)})
    code, out, err = await run("node", "play.mjs", cwd=scripts, env={"BEAM_PLAY": told})
    assert code == 0, f"{out[-2000:]}\n{err[-4000:]}"
    found: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    return found
