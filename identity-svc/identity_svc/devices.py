"""Device authorization (RFC 8628): a counter terminal shows a short code, the person types it in on
a device of their own and agrees, the terminal asks until it gets its tokens.

waiting → approved → used, or waiting → denied; ten minutes in all. The short code is kept as a
keyed hash: 20^8 possibilities are enough against guessing here, where tries are counted, and too
few for a plain hash.
"""

import secrets
import unicodedata
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from authlib.oauth2.rfc6749 import (
    AccessDeniedError,
    BaseGrant,
    InvalidGrantError,
    InvalidRequestError,
    TokenEndpointMixin,
    UnauthorizedClientError,
)
from authlib.oauth2.rfc8628 import (
    AuthorizationPendingError,
    ExpiredTokenError,
    SlowDownError,
)
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from kit.clock import now
from kit.ids import new_id

from . import consents, families, proofs, tokens
from .grants import EVERY_PROOF, Here
from .models import Account, Client, DeviceRequest, LoginSession

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels, so no words; nothing that looks like a digit (RFC 8628 §6.1)."""
LENGTH = 8
LIFE = timedelta(minutes=10)
INTERVAL, SLOWER, SLOWEST = 5, 5, 60
"""Seconds between two questions of a terminal; how much more each time that it was too quick."""
KeyedHash = Callable[[str], str]


def normal(code: str) -> str:
    """A short code however it was typed: small letters, spaces, dashes, full width."""
    plain = unicodedata.normalize("NFKC", code).upper()
    return "".join(letter for letter in plain if letter.isalnum())[:40]


def index(hashed: KeyedHash, code: str) -> str:
    return hashed(f"device|{normal(code)}")


def shown(code: str) -> str:
    """As the terminal and the page show it: BCDF-GHJK."""
    return f"{code[:4]}-{code[4:]}"


def begin(session: Session, client: Client, scope: str, hashed: KeyedHash) -> tuple[str, str]:
    """A new request of a terminal: its device code, and the short one for the person."""
    device_code, at = secrets.token_urlsafe(32), now()
    while True:
        code = "".join(secrets.choice(LETTERS) for _ in range(LENGTH))
        row = insert(DeviceRequest).values(
            device_hash=tokens.digest(device_code),
            user_code_index=index(hashed, code),
            client_id=client.client_id,
            scope=scope,
            state="waiting",
            interval=INTERVAL,
            expires_at=at + LIFE,
        )
        if session.scalar(row.on_conflict_do_nothing().returning(DeviceRequest.device_hash)):
            return device_code, shown(code)


async def find(session: AsyncSession, hashed: KeyedHash, code: str) -> DeviceRequest | None:
    """The request that waits under a short code, locked."""
    found: DeviceRequest | None = await session.scalar(
        select(DeviceRequest)
        .where(
            DeviceRequest.user_code_index == index(hashed, code),
            DeviceRequest.state == "waiting",
            DeviceRequest.expires_at > now(),
        )
        .with_for_update()
    )
    return found


async def approve(
    session: AsyncSession, row: DeviceRequest, client: Client, login: LoginSession, hours: int
) -> None:
    """The person agrees: the terminal gets a sign-in of its own, which does not end with the one
    that the person agreed in."""
    at = now()
    own = LoginSession(
        id=new_id("ses"),
        token_hash=tokens.digest(secrets.token_urlsafe(32)),
        account_id=login.account_id,
        acr=login.acr,
        amr=login.amr,
        auth_time=login.auth_time,
        expires_at=at + timedelta(hours=hours),
    )
    session.add(own)
    await session.flush()
    row.state, row.session_id = "approved", own.id
    if client.third_party:
        await consents.give(
            session,
            account_id=login.account_id,
            client_id=client.client_id,
            scopes=tuple(row.scope.split()),
        )


class DeviceGrant(Here, BaseGrant, TokenEndpointMixin):  # type: ignore[misc]
    """The terminal asks whether the person has agreed."""

    GRANT_TYPE = DEVICE
    TOKEN_ENDPOINT_AUTH_METHODS = EVERY_PROOF

    def validate_token_request(self) -> None:
        client: Client = self.authenticate_token_endpoint_client()
        self.request.client = client
        if not client.check_grant_type(DEVICE):
            raise UnauthorizedClientError
        proofs.demand(self.here, client)
        code = self.request.fields.get("device_code")
        if not code:
            raise InvalidRequestError
        session, at = self.here.session, now()
        row = session.get(DeviceRequest, tokens.digest(code), with_for_update=True)
        if row is None or row.client_id != client.client_id:
            raise InvalidGrantError
        if row.family_id is not None:
            families.revoke(session, row.family_id, "code_reuse")
            raise InvalidGrantError
        self._decide(row, at)
        self._row = row

    def _decide(self, row: DeviceRequest, at: datetime) -> None:
        """Raises what the terminal has to hear when there is nothing for it yet, or never."""
        if row.state == "denied":
            raise AccessDeniedError
        if row.expires_at <= at:
            raise ExpiredTokenError
        asked, row.asked_at = row.asked_at, at
        if asked is not None and at - asked < timedelta(seconds=row.interval - 0.5):
            row.interval = min(row.interval + SLOWER, SLOWEST)
            raise SlowDownError
        if row.state == "waiting":
            raise AuthorizationPendingError

    def create_token_response(self) -> tuple[int, dict[str, Any], Any]:
        here, row, client = self.here, self._row, self.request.client
        login = here.session.get_one(LoginSession, row.session_id)
        account = here.session.get_one(Account, login.account_id)
        if account.state != "active" or login.ended_at is not None:
            raise AccessDeniedError
        here.login = login
        here.family = families.start(
            here.session,
            code=row,
            login=login,
            now=now(),
            days=here.settings.refresh_days,
            jkt=here.jkt if client.is_public() else None,
        )
        row.state = "used"
        answer: dict[str, Any] = self.generate_token(
            user=account,
            scope=row.scope,
            include_refresh_token=client.check_grant_type("refresh_token"),
        )
        if "openid" in row.scope.split():
            answer["id_token"] = tokens.id_token(
                here.key,
                issuer=here.settings.issuer,
                seconds=here.settings.access_token_seconds,
                client_id=client.client_id,
                login=login,
                nonce=None,
                beside=answer["access_token"],
            )
        return 200, answer, self.TOKEN_RESPONSE_HEADER
