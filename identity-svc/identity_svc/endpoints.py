"""Giving tokens back (RFC 7009) and asking about them (RFC 7662), on Authlib's skeletons."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from sqlalchemy.orm import Session

from kit.clock import now
from kit.jose import BadToken

from . import acting, families, tokens
from .grants import EVERY_PROOF, SECRET_PROOFS
from .models import Account, Client, RefreshFamily, RevokedToken


@dataclass(frozen=True)
class Known:
    """A token that is ours: an access token (with claims) or a refresh token."""

    client_id: str
    claims: dict[str, Any] | None
    family: RefreshFamily | None
    live: bool

    def check_client(self, client: Client) -> bool:
        return client.client_id == self.client_id

    def is_expired(self) -> bool:
        return not self.live

    def is_revoked(self) -> bool:
        return not self.live


def is_live(session: Session, claims: dict[str, Any]) -> bool:
    """Whether a verified access token was not given back, and its family and account stand."""
    if session.get(RevokedToken, claims["jti"]) is not None:
        return False
    family_id = tokens.family_of(claims)
    if family_id is None:
        return True
    family = session.get(RefreshFamily, family_id)
    if family is None or family.state != "active":
        return False
    account = session.get_one(Account, family.account_id)
    return account.state == "active" and acting.still(session, family)


def _known(here: tokens.Round, text: str) -> Known | None:
    found = families.find(here.session, text)
    if found is not None:
        family, link = found
        live = family.state == "active" and family.expires_at > now() and link.used_at is None
        return Known(family.client_id, None, family, live)
    try:
        claims = here.verifying.verify(text, issuer=here.settings.issuer, audience=tokens.AUDIENCES)
    except BadToken:
        return None
    return Known(claims["client_id"], claims, None, is_live(here.session, claims))


class Revocation(RevocationEndpoint):  # type: ignore[misc]
    CLIENT_AUTH_METHODS = EVERY_PROOF

    def query_token(self, token: str, hint: str | None) -> Known | None:
        return _known(self.server.here, token)

    def revoke_token(self, known: Known, request: Any) -> None:
        if known.family is not None:
            families.revoke(self.server.here.session, known.family.id, "given_back")
        if known.claims is not None:
            ends = datetime.fromtimestamp(known.claims["exp"], UTC)
            families.give_back(self.server.here.session, known.claims["jti"], ends)


class Introspection(IntrospectionEndpoint):  # type: ignore[misc]
    CLIENT_AUTH_METHODS = SECRET_PROOFS

    def query_token(self, token: str, hint: str | None) -> Known | None:
        return _known(self.server.here, token)

    def check_permission(self, known: Known, client: Client, request: Any) -> bool:
        """Our own services may ask about every token, others about their own."""
        return client.kind == "service" or known.check_client(client)

    def introspect_token(self, known: Known) -> dict[str, Any]:
        if known.claims is not None:
            kind = "DPoP" if "cnf" in known.claims else "Bearer"
            return {"active": True, "token_type": kind, **known.claims}
        assert known.family is not None
        return {
            "active": True,
            "client_id": known.client_id,
            "sub": known.family.account_id,
            "scope": known.family.scope,
            "iss": self.server.here.settings.issuer,
            "exp": int(known.family.expires_at.timestamp()),
            **({"cnf": {"jkt": known.family.jkt}} if known.family.jkt else {}),
        }
