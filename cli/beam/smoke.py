"""`beam smoke`: is the deployed platform all there? Asked at its public address, as a caller would.

With the simulated outside world beside it, it plays the whole journey there as well.
"""

import asyncio
import json
import os
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from rich.console import Console

from .demo import show
from .environment import partners
from .installation import RUN_SECRETS, departments
from .journey.stage import Place
from .secret_store import SecretStore
from .state import demo_accounts
from .trouble import Trouble

PATIENCE = 30.0


def run() -> int:
    """0 when everything holds. Raises Trouble when the address is missing."""
    issuer = os.environ.get("BEAM_ISSUER")
    if not issuer:
        raise Trouble("请设置 BEAM_ISSUER。", "Set BEAM_ISSUER.")
    console, verify = Console(highlight=False), _trusted()
    with httpx.Client(base_url=issuer, timeout=10, trust_env=False, verify=verify) as client:
        good = [_tell(console, name, check, client) for name, check in CHECKS]
    if not all(good):
        return 1
    sandbox = os.environ.get("BEAM_SANDBOX_URL", "")
    if not sandbox or not _answers(sandbox):
        console.print("· 没有 sandbox,不走完整流程 / no sandbox here: the journey is left out")
        return 0
    if os.environ.get("BEAM_ENVIRONMENT") == "production":
        console.print("· 正式环境没有演示账号,不走完整流程 / no demo accounts in production")
        return 0
    store = SecretStore(RUN_SECRETS, departments(), may_write=False)
    place = Place(
        gateway=issuer,
        sandbox=sandbox,
        accounts={a["login"]: a for a in demo_accounts()},
        partners={p["system"]: p for p in partners(store, os.environ["BEAM_NATS_URL"])},
        verify=verify,
    )
    report = asyncio.run(show(place, fail=None, speed=0, curls=None, console=console))
    return 0 if report.ok else 1


def _trusted() -> ssl.SSLContext | bool:
    """The proxy's own authority where it has one (`tls internal`), else the usual ones."""
    file = Path(os.environ.get("BEAM_CA_FILE") or "/nowhere")
    return ssl.create_default_context(cafile=str(file)) if file.exists() else True


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/live", timeout=3, trust_env=False).is_success
    except httpx.TransportError:
        return False


def _tell(
    console: Console, name: str, check: Callable[[httpx.Client], str], client: httpx.Client
) -> bool:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            problem = check(client)
        except (httpx.HTTPError, json.JSONDecodeError, KeyError) as exc:
            problem = f"{type(exc).__name__}: {exc}"
        if not problem or time.monotonic() > end:
            break
        time.sleep(1)
    console.print(f"{'✗' if problem else '✓'} {name}" + (f" — {problem}" if problem else ""))
    return not problem


def _ready(client: httpx.Client) -> str:
    answer = client.get("/health/ready")
    away = answer.json()["degraded"]
    return "" if answer.status_code == 200 and not away else f"{answer.status_code}, away: {away}"


def _issuer(client: httpx.Client) -> str:
    told = client.get("/.well-known/openid-configuration").json()["issuer"]
    wanted = str(client.base_url).rstrip("/")
    return "" if told == wanted else f"it calls itself {told}, the address is {wanted}"


def _keys(client: httpx.Client) -> str:
    return "" if client.get("/.well-known/jwks.json").json()["keys"] else "no signing keys"


def _catalogue(client: httpx.Client) -> str:
    answer = client.get("/v1/items", params={"limit": 1})
    return "" if answer.status_code == 200 and answer.json()["items"] else f"{answer.status_code}"


def _closed(client: httpx.Client) -> str:
    for path in ("/internal/v1/accounts/x/holder", "/metrics"):
        status = client.get(path).status_code
        if status != 404:
            return f"{path} answers {status}"
    return ""


CHECKS: tuple[tuple[str, Callable[[httpx.Client], str]], ...] = (
    ("大门与各服务就绪 / the door is open, every service is ready", _ready),
    ("公开地址与令牌签发者一致 / the address is the issuer of tokens", _issuer),
    ("签名公钥 / signing keys", _keys),
    ("事项目录 / the catalogue", _catalogue),
    ("内部接口不对外 / internal addresses are closed", _closed),
)
