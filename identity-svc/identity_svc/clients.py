"""The OAuth clients that belong to the installation: portal, services, departments' systems.

They come from settings alone, so production has them without any demo data. Everybody else's
clients will be registered by their owners.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import or_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from .departments import is_department
from .models import Client
from .settings import Settings
from .tokens import digest

SIGN_IN = ["authorization_code", "refresh_token"]


def app(client_id: str, name: str, name_en: str, redirect_uris: list[str]) -> dict[str, Any]:
    """A public client in which people sign in."""
    return {
        "client_id": client_id,
        "kind": "app",
        "name": name,
        "name_en": name_en,
        "secret_hash": None,
        "jwks": None,
        "bound": False,
        "pushed_only": False,
        "redirect_uris": redirect_uris,
        "logout_uris": [],
        "grant_types": SIGN_IN,
        "scopes": ["openid", "profile"],
        "dept": None,
        "active": True,
    }


def _system(client_id: str, secret: str) -> dict[str, Any]:
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
        "bound": False,
        "pushed_only": False,
        "redirect_uris": [],
        "logout_uris": [],
        "grant_types": ["client_credentials"],
        "active": True,
        **about,
    }


def _declared(settings: Settings) -> Iterator[dict[str, Any]]:
    home = [f"{settings.issuer}/callback", *settings.portal_redirect_uris]
    portal = app("portal", "一网通办总门户", "One Beam portal", home)
    yield {**portal, "logout_uris": [f"{settings.issuer}/"]}
    for client_id, secret in settings.client_secrets().items():
        yield _system(client_id, secret)


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
                Client.client_id.not_in([client["client_id"] for client in declared]),
            )
            .values(active=False)
        )
