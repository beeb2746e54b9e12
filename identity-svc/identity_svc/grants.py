"""The common grants, on Authlib's skeletons; see also exchange and devices.
What is in none of them is refused."""

import re
import secrets
from datetime import timedelta
from typing import Any

from authlib.oauth2.rfc6749 import InvalidGrantError, InvalidRequestError, InvalidScopeError
from authlib.oauth2.rfc6749.grants import (
    AuthorizationCodeGrant,
    ClientCredentialsGrant,
    RefreshTokenGrant,
)
from authlib.oauth2.rfc7636 import CodeChallenge, create_s256_code_challenge
from sqlalchemy import select

from kit.clock import now

from . import acting, families, proofs, tokens
from .models import (
    Account,
    AuthorizationCode,
    Client,
    LoginSession,
    RefreshFamily,
    RefreshToken,
)

SECRET_PROOFS = ("private_key_jwt", "client_secret_basic", "client_secret_post")
EVERY_PROOF = (*SECRET_PROOFS, "none")
CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")


class OnlyS256(CodeChallenge):  # type: ignore[misc]
    """PKCE for every client, S256 alone: Authlib would let a missing one and `plain` through."""

    SUPPORTED_CODE_CHALLENGE_METHOD = ("S256",)
    CODE_CHALLENGE_METHODS = {  # noqa: RUF012
        "S256": lambda verifier, challenge: secrets.compare_digest(
            create_s256_code_challenge(verifier), challenge
        )
    }

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        data = grant.request.payload.data
        if not CHALLENGE.fullmatch(data.get("code_challenge") or ""):
            raise InvalidRequestError("code_challenge of PKCE is needed")
        if data.get("code_challenge_method") != "S256":
            raise InvalidRequestError("code_challenge_method must be S256")
        super().validate_code_challenge(grant, redirect_uri)


class Here:
    """Gives a grant the round that it works in."""

    server: Any

    @property
    def here(self) -> tokens.Round:
        here: tokens.Round = self.server.here
        return here


class CodeGrant(Here, AuthorizationCodeGrant):  # type: ignore[misc]
    """Authorization code: once, for one client, one redirect address and one verifier."""

    TOKEN_ENDPOINT_AUTH_METHODS = EVERY_PROOF

    @staticmethod
    def validate_authorization_redirect_uri(request: Any, client: Client) -> str:
        uri = request.payload.redirect_uri
        if not uri or not client.check_redirect_uri(uri):
            raise InvalidRequestError("redirect_uri is not one that the client registered")
        return str(uri)

    def generate_authorization_code(self) -> str:
        return secrets.token_urlsafe(32)

    def save_authorization_code(self, code: str, request: Any) -> None:
        data, login = request.payload.data, request.user
        self.here.session.add(
            AuthorizationCode(
                code_hash=tokens.digest(code),
                client_id=request.client.client_id,
                session_id=login.id,
                redirect_uri=request.payload.redirect_uri,
                scope=request.scope,
                nonce=data.get("nonce"),
                jkt=data.get("dpop_jkt"),
                act_for=_other_than_self(data.get("act_for")),
                code_challenge=data["code_challenge"],
                code_challenge_method=data["code_challenge_method"],
                expires_at=now() + timedelta(seconds=self.here.settings.code_seconds),
            )
        )

    def query_authorization_code(self, code: str, client: Client) -> AuthorizationCode | None:
        proofs.demand(self.here, client)
        row = self.here.session.scalar(
            select(AuthorizationCode)
            .where(AuthorizationCode.code_hash == tokens.digest(code))
            .with_for_update()
        )
        if row is None or row.client_id != client.client_id:
            return None
        if row.family_id is not None:
            families.revoke(self.here.session, row.family_id, "code_reuse")
            return None
        if row.jkt is not None and row.jkt != self.here.jkt:
            return None
        return row if row.expires_at > now() else None

    def authenticate_user(self, code: AuthorizationCode) -> Account | None:
        """The account behind the code, if it may still sign in; its family starts here."""
        session = self.here.session
        login = session.get_one(LoginSession, code.session_id)
        account = session.get_one(Account, login.account_id)
        if account.state != "active" or login.ended_at is not None:
            return None
        self.here.login = login
        self.here.family = families.start(
            session,
            code=code,
            login=login,
            now=now(),
            days=self.here.settings.refresh_days,
            jkt=self.here.jkt if self.request.client.is_public() else None,
        )
        if code.act_for is not None:
            return acting.start(session, self.here.family, code.act_for)
        return account

    def delete_authorization_code(self, code: AuthorizationCode) -> None:
        """It stays, marked by its family, so that a second use is noticed; a job forgets it."""


def _other_than_self(act_for: str | None) -> str | None:
    return None if act_for in (None, "", acting.SELF) else act_for


class IdToken:
    """Adds an id_token to the answer of a code that was asked for with the scope `openid`."""

    def __call__(self, grant: Any) -> None:
        grant.register_hook("after_create_token_response", self._add)

    def _add(self, grant: Any, response: tuple[int, dict[str, Any], Any]) -> None:
        here, code, answer = grant.here, grant.request.authorization_code, response[1]
        if "openid" in code.scope.split():
            answer["id_token"] = tokens.id_token(
                here.key,
                issuer=here.settings.issuer,
                seconds=here.settings.access_token_seconds,
                client_id=code.client_id,
                subject=here.family.account_id,
                actor=here.family.actor_id,
                login=here.login,
                nonce=code.nonce,
                beside=answer["access_token"],
            )


class RefreshGrant(Here, RefreshTokenGrant):  # type: ignore[misc]
    """Refresh tokens, each used once; see families."""

    TOKEN_ENDPOINT_AUTH_METHODS = EVERY_PROOF
    INCLUDE_NEW_REFRESH_TOKEN = True
    _link: RefreshToken

    def authenticate_refresh_token(self, token: str) -> RefreshFamily | None:
        found = families.find(self.here.session, token)
        if found is None:
            return None
        family, self._link = found
        proofs.demand(self.here, self.request.client)
        if family.jkt is not None and family.jkt != self.here.jkt:
            return None
        may = families.may_use(
            self.here.session,
            family,
            self._link,
            client=self.request.client,
            now=now(),
            grace=timedelta(seconds=self.here.settings.refresh_grace_seconds),
        )
        return family if may else None

    def authenticate_user(self, family: RefreshFamily) -> Account:
        """The account behind the family. Raises InvalidGrantError when it is suspended."""
        account = self.here.session.get_one(Account, family.account_id)
        self.here.login = self.here.session.get_one(LoginSession, family.session_id)
        self.here.family = family
        if account.state != "active" or not acting.still(self.here.session, family):
            raise InvalidGrantError
        return account

    def revoke_old_credential(self, family: RefreshFamily) -> None:
        assert self.here.new_link is not None
        families.replace(self.here.session, self._link, self.here.new_link, now())


class ClientGrant(Here, ClientCredentialsGrant):  # type: ignore[misc]
    """Services and departments' systems, with their secret."""

    TOKEN_ENDPOINT_AUTH_METHODS = SECRET_PROOFS

    def validate_token_request(self) -> None:
        super().validate_token_request()
        proofs.demand(self.here, self.client)
        if set((self.request.payload.scope or "").split()) - set(self.client.scopes):
            raise InvalidScopeError
