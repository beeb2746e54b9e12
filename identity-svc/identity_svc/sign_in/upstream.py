"""Signing in by a provider above us: whose account it is, and when one is made.

The first time, an account is linked or made only when the provider vouches for the identity number
(its `acr` is mapped to L2 or more) and that number is proven here on the account, or on none. An
account that only claims the number is left alone.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from kit.clock import now
from kit.secrets import Vault

from .. import accounts, identifiers, levels, logins
from ..models import Account
from ..models_upstream import UpstreamLink, UpstreamSignIn
from ..providers.upstream import Asking
from ..settings import Settings
from ..tokens import digest

LIFE = timedelta(minutes=10)
NEEDED = "L2"


class NotEnough(Exception):
    """The provider does not vouch for enough, and no account is linked yet."""


class Closed(Exception):
    """The account may not sign in."""


@dataclass(frozen=True)
class Back:
    """Who came back: what was asked, and where to go on to."""

    asking: Asking
    return_to: str


def _bound(state: str) -> str:
    return f"upstream_sign_in|asking|{digest(state)}"


async def remember(
    session: AsyncSession, vault: Vault, asking: Asking, *, browser: str, return_to: str
) -> None:
    """Keep what must not be lost while the person is away, for this browser alone."""
    secret = vault.seal(f"{asking.nonce} {asking.verifier}", bound_to=_bound(asking.state))
    session.add(
        UpstreamSignIn(
            state_hash=digest(asking.state),
            browser_hash=digest(browser),
            asking=secret,
            return_to=return_to,
            expires_at=now() + LIFE,
        )
    )


async def returned(session: AsyncSession, vault: Vault, state: str, browser: str) -> Back | None:
    """What was asked under this state in this browser; once."""
    row = await session.get(UpstreamSignIn, digest(state), with_for_update=True)
    if row is None or row.expires_at <= now() or row.browser_hash != digest(browser):
        return None
    await session.delete(row)
    nonce, _, verifier = vault.open(row.asking, bound_to=_bound(state)).partition(" ")
    return Back(Asking(state, nonce, verifier), row.return_to)


async def sign_in(
    session: AsyncSession, vault: Vault, settings: Settings, issuer: str, claims: dict[str, Any]
) -> str:
    """Open a session for who these (verified) claims are about; the cookie's value. Raises
    NotEnough, Closed."""
    # The index ignores case, a subject does not.
    index = vault.index(f"upstream|{issuer}|{claims['sub'].encode().hex()}")
    link = await session.get(UpstreamLink, index, with_for_update=True)
    level = settings.upstream_oidc_levels.get(str(claims.get("acr")), "L1")
    if link is None:
        link = UpstreamLink(
            subject_index=index,
            account_id=await _owner(session, vault, settings, claims, level),
            linked_at=now(),
        )
        row = insert(UpstreamLink).values(
            subject_index=index, account_id=link.account_id, linked_at=link.linked_at
        )
        await session.execute(row.on_conflict_do_nothing())
    account = await session.get_one(Account, link.account_id)
    if account.state != "active":
        raise Closed
    await session.execute(
        update(UpstreamLink).where(UpstreamLink.subject_index == index).values(used_at=now())
    )
    return logins.begin(session, account, settings, amr=["fed"])


async def _owner(
    session: AsyncSession, vault: Vault, settings: Settings, claims: dict[str, Any], level: str
) -> str:
    """The account on which this identity number is proven, or a new one."""
    try:
        number = identifiers.id_number(str(claims[settings.upstream_oidc_id_claim]))
        name = identifiers.name(str(claims["name"]))
    except (KeyError, identifiers.Unfit):
        raise NotEnough from None
    if level < NEEDED or level not in levels.LEVELS:
        raise NotEnough
    index = vault.index(f"id|{number}")
    proven = (Account.kind == "person", Account.id_index == index, Account.level >= NEEDED)
    query = select(Account.id).where(*proven)
    found: str | None = await session.scalar(query)
    if found is None:
        await accounts.register(
            session, vault, name=name, id_number=number, level=level, password_hash=None
        )
        found = await session.scalar(query)
    if found is None:
        raise NotEnough
    account = await session.get_one(Account, found)
    if accounts.name_and_number(vault, account)[0] != name:
        raise NotEnough
    return found
