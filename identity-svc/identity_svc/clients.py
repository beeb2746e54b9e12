"""The OAuth clients that belong to the installation: portal, services, departments' systems.

They come from settings alone, so production has them without any demo data. Everybody else's
clients are registered by operators.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from kit.errors import Invalid, NotFound
from kit.ids import new_id

from . import families
from .departments import is_department
from .devices import DEVICE
from .exchange import EXCHANGE
from .models import Client
from .settings import Settings
from .tokens import digest

MINI_PROGRAM = "urn:one-beam:params:oauth:sign-in:wechat-mini-program"
"""Among the grants of a client: it may ask for a code by what WeChat knows of its user."""
SIGN_IN = ["authorization_code", "refresh_token"]
GRANTS = {
    "code": SIGN_IN,
    "device": [DEVICE, "refresh_token"],
    "exchange": [EXCHANGE],
    "credentials": ["client_credentials"],
}
"""What operators call them."""


def app(client_id: str, name: str, name_en: str, redirect_uris: list[str]) -> dict[str, Any]:
    """A public client in which people sign in."""
    return {
        "client_id": client_id,
        "kind": "app",
        "name": name,
        "name_en": name_en,
        "secret_hash": None,
        "jwks": None,
        "jwks_uri": None,
        "bound": False,
        "pushed_only": False,
        "redirect_uris": redirect_uris,
        "logout_uris": [],
        "backchannel_logout_uri": None,
        "grant_types": SIGN_IN,
        "scopes": ["openid", "profile"],
        "dept": None,
        "active": True,
    }


def _system(client_id: str, secret: str, *, exchanges: bool) -> dict[str, Any]:
    kind, _, name = client_id.partition("-")
    if kind == "svc":
        about = {"kind": "service", "scopes": ["internal"], "dept": None}
    elif kind == "dept" and is_department(name):
        about = {"kind": "partner", "scopes": ["events"], "dept": name}
    else:
        raise SystemExit(
            f"客户端名 {client_id} 应为 svc-<服务> 或 dept-<部门代码>。"
            f" / Client {client_id} must be named svc-<service> or dept-<department code>."
        )
    return {
        "client_id": client_id,
        "name": client_id,
        "name_en": client_id,
        "secret_hash": digest(secret),
        "jwks": None,
        "jwks_uri": None,
        "bound": False,
        "pushed_only": False,
        "redirect_uris": [],
        "logout_uris": [],
        "grant_types": ["client_credentials", *([EXCHANGE] if exchanges else [])],
        "active": True,
        **about,
    }


def _declared(settings: Settings) -> Iterator[dict[str, Any]]:
    home = [f"{settings.issuer}/callback", *settings.portal_redirect_uris]
    portal = app("portal", "一网通办总门户", "One Beam portal", home)
    yield {**portal, "logout_uris": [f"{settings.issuer}/"]}
    terminal = app("counter-terminal", "政务服务自助终端", "Service counter terminal", [])
    yield {**terminal, "grant_types": [DEVICE, "refresh_token"]}
    ops = [f"{settings.issuer}/ops/signed-in"]
    page = app("operators-page", "运行状态页", "Operators' page", ops)
    yield {**page, "grant_types": ["authorization_code"], "scopes": ["openid"]}
    mini = app("mini-program", "一网通办小程序", "One Beam mini-program", [])
    used = settings.wechat_mini_keys is not None
    yield {**mini, "grant_types": [*SIGN_IN, MINI_PROGRAM], "active": used}
    for client_id, secret in settings.client_secrets().items():
        yield _system(client_id, secret, exchanges=client_id in settings.exchange_clients)


async def put(session: AsyncSession, client: dict[str, Any]) -> None:
    """Store a client, or bring the stored one up to date; write nothing when it is."""
    row = insert(Client).values(client)
    changing = [column for column in client if column != "client_id"]
    await session.execute(
        row.on_conflict_do_update(
            index_elements=[Client.client_id],
            set_={column: row.excluded[column] for column in changing},
            where=or_(
                *(
                    getattr(Client, column).is_distinct_from(row.excluded[column])
                    for column in changing
                )
            ),
        )
    )


async def register(
    session: AsyncSession,
    *,
    name: str,
    name_en: str,
    redirect_uris: list[str],
    scopes: list[str],
    keys: list[dict[str, Any]],
    backchannel_logout_uri: str | None = None,
    jwks_uri: str | None = None,
    by: str,
) -> Client:
    """Register somebody else's application. With keys it is held to FAPI 2.0: private_key_jwt,
    pushed requests, bound tokens."""
    about = app(new_id("cli"), name, name_en, redirect_uris)
    row = Client(
        **{
            **about,
            "scopes": list(dict.fromkeys(scopes)),
            "jwks": {"keys": keys} if keys else None,
            "jwks_uri": jwks_uri,
            "bound": bool(keys or jwks_uri),
            "pushed_only": bool(keys or jwks_uri),
            "third_party": True,
            "backchannel_logout_uri": backchannel_logout_uri,
            "registered_by": by,
            "version": 1,
        }
    )
    session.add(row)
    await session.flush()
    return row


async def enter(
    session: AsyncSession,
    *,
    name: str,
    name_en: str,
    redirect_uris: list[str],
    logout_uris: list[str],
    backchannel_logout_uri: str | None,
    jwks_uri: str | None,
    keys: list[dict[str, Any]],
    scopes: list[str],
    grants: list[str],
    dept: str | None,
    strict: bool,
    third_party: bool,
    secret: str | None,
    by: str,
) -> Client:
    """Register a system as an operator says: a department's old one signs people in with a secret
    and a code, a terminal by a device code, and so on. `strict`: FAPI 2.0. Raises Invalid."""
    system = "credentials" in grants
    if (dept is not None and not is_department(dept)) or (system and dept is None):
        raise Invalid("请填写有效的部门代码。", "Name a department that there is.")
    if not (secret or keys or jwks_uri) and {"credentials", "exchange"} & set(grants):
        raise Invalid(
            "这种用法需要密钥或公钥。",
            "Such a client has to prove itself: give it a secret or keys.",
        )
    if "code" in grants and not redirect_uris:
        raise Invalid("请填写回调地址。", "Name a redirect address.")
    wanted = [grant for name in grants for grant in GRANTS[name]]
    row = Client(
        **{
            **app(new_id("cli"), name, name_en, redirect_uris),
            "kind": "partner" if system else "app",
            "secret_hash": digest(secret) if secret else None,
            "jwks": {"keys": keys} if keys else None,
            "jwks_uri": jwks_uri,
            "logout_uris": logout_uris,
            "backchannel_logout_uri": backchannel_logout_uri,
            "grant_types": list(dict.fromkeys(wanted)),
            "scopes": list(dict.fromkeys(scopes)),
            "dept": dept,
            "bound": strict,
            "pushed_only": strict,
            "third_party": third_party,
            "registered_by": by,
            "version": 1,
        }
    )
    session.add(row)
    await session.flush()
    return row


async def registered(session: AsyncSession, *, after: str | None, limit: int) -> list[Client]:
    """The applications that operators registered, the oldest first; one more than `limit` when
    there is more."""
    query = select(Client).where(Client.registered_by.is_not(None))
    if after is not None:
        query = query.where(Client.client_id > after)
    return list(await session.scalars(query.order_by(Client.client_id).limit(limit + 1)))


async def switch(session: AsyncSession, client_id: str, *, on: bool) -> Client:
    """Switch a registered client on or off. Off, it gets no more tokens, and those that it had
    are refused."""
    client = await session.get(Client, client_id, with_for_update=True)
    if client is None or client.registered_by is None:
        raise NotFound("没有找到这个应用。", "There is no such registered client.")
    client.active = on
    client.version += 1
    if not on:
        await families.revoke_of_client(session, None, client_id)
    return client


async def provision(session: AsyncSession, settings: Settings) -> None:
    """See to it that the installation's own clients are as the settings say. One that lost its
    secret from the settings is switched off."""
    declared = list(_declared(settings))
    for client in declared:
        await put(session, client)
    if settings.service_secrets_file is not None:
        await session.execute(
            update(Client)
            .where(
                Client.kind.in_(("service", "partner")),
                Client.registered_by.is_(None),
                Client.client_id.not_in([client["client_id"] for client in declared]),
            )
            .values(active=False)
        )
