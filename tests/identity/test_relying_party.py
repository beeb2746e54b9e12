"""A relying party that others wrote and certified goes through our provider over real HTTP."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from identity_svc import seed
from identity_svc.main import create_app
from identity_svc.settings import Settings
from kit.testing import Ground, serve
from sandbox.testing import free_port

SCRIPT = Path(__file__).with_name("relying_party.mjs")
PACKAGE = "openid-client@6"
SECONDS = 120


async def run(*command: str, cwd: Path) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        return -1, f"no end after {SECONDS} s"
    return process.returncode or 0, out.decode()


@pytest.fixture(scope="module")
async def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the script and its one dependency."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    place: Path = tmp_path_factory.mktemp("relying-party")
    quiet = ("--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
    code, said = await run("npm", "install", *quiet, PACKAGE, cwd=place)
    if code != 0:
        pytest.skip(f"{PACKAGE} cannot be installed here: {said.strip()[-200:]}")
    shutil.copy(SCRIPT, place)
    return place


async def test_openid_client_goes_through(folder: Path, ground: Ground, nats_url: str) -> None:
    port = free_port()
    issuer = f"http://127.0.0.1:{port}"
    settings: dict[str, Any] = {
        "environment": "test",
        "database_url": await ground.database("identity_svc"),
        "nats_url": nats_url,
        "issuer": issuer,
        "vault_key_file": ground.vault_file,
    }
    app = create_app(Settings(**settings))
    async with serve(app, port=port):
        await seed.seed(app.state.runtime)
        code, said = await run(
            *("node", SCRIPT.name, issuer, "13800000001", seed.DEMO_PASSWORD), cwd=folder
        )
    assert code == 0, said
    assert json.loads(said.strip().splitlines()[-1]) == {
        "pushed": True,
        "sub": "acc_zhangsan",
        "type": "dpop",
        "rotated": True,
        "me": "acc_zhangsan",
        "old": "invalid_grant",
        "family": "invalid_grant",
        "code": "invalid_grant",
        "after": "invalid_grant",
    }
