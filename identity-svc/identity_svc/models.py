"""Tables of identity-svc: who somebody is, how they signed in, and what was issued for it."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, String, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from contracts.identity import AccountClosed, AccountSuspended
from kit.db import APPEND_ONLY, Document, Moment, Now, Sealed
from kit.states import Transitions

from . import models_agency as models_agency
from . import models_closing as models_closing
from . import models_corrections as models_corrections
from . import models_exports as models_exports
from . import models_personal as models_personal
from . import models_sign_in as models_sign_in
from . import models_upstream as models_upstream
from .base import Base, Texts

ACCOUNT_TRANSITIONS: Transitions = {
    ("active", "suspend"): ("suspended", AccountSuspended),
    ("suspended", "restore"): ("active", None),
    ("active", "close"): ("closed", AccountClosed),
}


class Account(Base):
    """A person, a firm or a member of staff. Name, id number and phone lie here sealed."""

    __tablename__ = "account"
    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    """person | enterprise | staff"""
    state: Mapped[str]
    """active | suspended | closed"""
    level: Mapped[str]
    """L0 (nothing proven) … L4"""
    name: Mapped[Sealed]
    id_number: Mapped[bytes | None] = mapped_column(LargeBinary)
    """Identity number of a person, unified credit code of a firm."""
    id_index: Mapped[str | None]
    phone: Mapped[bytes | None] = mapped_column(LargeBinary)
    phone_index: Mapped[str | None] = mapped_column(unique=True)
    former_phone: Mapped[bytes | None] = mapped_column(LargeBinary)
    """A number that has still to be told that it opens this account no longer."""
    former_phone_until: Mapped[datetime | None]
    password_hash: Mapped[str | None]
    """None: this account is entered by a code, a passkey or WeChat alone."""
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[Now]
    __table_args__ = (
        CheckConstraint("level in ('L0','L1','L2','L3','L4')", name="level"),
        # One account a number, once it is proven: an unproven claim must not block its owner.
        Index(
            "account_id_index_key",
            "kind",
            "id_index",
            unique=True,
            postgresql_where=text("level > 'L1'"),
        ),
        Index(
            "account_former_phone_idx",
            "id",
            postgresql_where=text("former_phone is not null"),
        ),
    )


class StaffMember(Base):
    """What makes an account a member of staff."""

    __tablename__ = "staff_member"
    account_id: Mapped[str] = mapped_column(ForeignKey("account.id"), primary_key=True)
    number: Mapped[str] = mapped_column(unique=True)
    roles: Mapped[Texts]
    """counter, reviewer, supervisor, operator"""
    dept: Mapped[str]
    region: Mapped[str]
    """Six digits of GB/T 2260; contains its sub-regions, 310000 is the whole city."""
    items: Mapped[list[str] | None] = mapped_column(ARRAY(String()))
    """The items that they handle; None: all of their department."""


class Attempts(Base):
    """Tries counted by account, address or registration; `key` is a keyed hash."""

    __tablename__ = "attempts"
    key: Mapped[str] = mapped_column(primary_key=True)
    tries: Mapped[int]
    since: Mapped[Moment]


class LoginSession(Base):
    """A signed-in browser; `token_hash` is of its cookie."""

    __tablename__ = "login_session"
    id: Mapped[str] = mapped_column(primary_key=True)
    token_hash: Mapped[str] = mapped_column(unique=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("account.id"), index=True)
    acr: Mapped[str]
    amr: Mapped[Texts]
    auth_time: Mapped[Moment]
    expires_at: Mapped[Moment]
    ended_at: Mapped[datetime | None]


class PhoneCode(Base):
    """A one-time code on its way to a telephone: a few minutes, a few tries, one use."""

    __tablename__ = "phone_code"
    id: Mapped[str] = mapped_column(primary_key=True)
    purpose: Mapped[str]
    """register | step_up | sign_in | reset | change_phone"""
    phone_index: Mapped[str]
    code_hash: Mapped[str]
    """Keyed, since six digits are soon guessed."""
    tries: Mapped[int] = mapped_column(default=0)
    expires_at: Mapped[Moment] = mapped_column(index=True)
    used_at: Mapped[datetime | None]


class Client(Base):
    """An OAuth client. The methods are what Authlib's grants ask of one."""

    __tablename__ = "client"
    client_id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    """app | service | partner"""
    name: Mapped[str]
    name_en: Mapped[str]
    secret_hash: Mapped[str | None]
    jwks: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """Public keys of a client that proves itself with private_key_jwt."""
    jwks_uri: Mapped[str | None]
    """Where they lie, when it keeps them itself."""
    bound: Mapped[bool] = mapped_column(default=False)
    """Its tokens must be bound to a key (DPoP)."""
    pushed_only: Mapped[bool] = mapped_column(default=False)
    """It must push its authorization requests (PAR)."""
    third_party: Mapped[bool] = mapped_column(default=False)
    """Somebody else's: people are asked before it learns anything of them."""
    registered_by: Mapped[str | None]
    """The operator; None for the installation's own."""
    version: Mapped[int] = mapped_column(default=1)
    redirect_uris: Mapped[Texts]
    logout_uris: Mapped[Texts]
    grant_types: Mapped[Texts]
    scopes: Mapped[Texts]
    dept: Mapped[str | None]
    backchannel_logout_uri: Mapped[str | None]
    """Where it wants to be told that a sign-in is over."""
    may_act: Mapped[str | None]
    """The one client that may exchange its tokens; None: any that may exchange at all."""
    active: Mapped[bool] = mapped_column(default=True)

    def get_client_id(self) -> str:
        return self.client_id

    def get_default_redirect_uri(self) -> None:
        return None

    def get_allowed_scope(self, scope: str | None) -> str:
        """What may be granted of what was asked; everything when nothing was."""
        asked = (scope or "").split() or self.scopes
        return " ".join(s for s in dict.fromkeys(asked) if s in self.scopes)

    def check_redirect_uri(self, uri: str) -> bool:
        return uri in self.redirect_uris

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        if method == "private_key_jwt":
            return self.has_keys()
        return not self.has_keys() and (method == "none") == self.is_public()

    def is_public(self) -> bool:
        """Whether it has nothing to prove itself with."""
        return self.secret_hash is None and not self.has_keys()

    def has_keys(self) -> bool:
        return self.jwks is not None or self.jwks_uri is not None

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code" and "authorization_code" in self.grant_types

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in self.grant_types


class Consent(Base):
    """What a person lets somebody else's client know; withdrawn, it is gone."""

    __tablename__ = "consent"
    account_id: Mapped[str] = mapped_column(ForeignKey("account.id"), primary_key=True)
    client_id: Mapped[str] = mapped_column(ForeignKey("client.client_id"), primary_key=True)
    scopes: Mapped[Texts]
    given_at: Mapped[Moment]


class RefreshFamily(Base):
    """All tokens that came from one sign-in for one client; revoked together."""

    __tablename__ = "refresh_family"
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("account.id"), index=True)
    client_id: Mapped[str] = mapped_column(ForeignKey("client.client_id"))
    session_id: Mapped[str] = mapped_column(ForeignKey("login_session.id"), index=True)
    scope: Mapped[str]
    state: Mapped[str]
    """active | revoked"""
    reason: Mapped[str | None]
    jkt: Mapped[str | None]
    """Thumbprint of the key that its refresh tokens are bound to."""
    actor_id: Mapped[str | None]
    """Who signed in, where he acts for the account."""
    mandate_id: Mapped[str | None]
    """Under which mandate; None where he is appointed at a firm."""
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[Now]
    expires_at: Mapped[Moment]
    __table_args__ = (
        Index(
            "refresh_family_actor_id_idx",
            "actor_id",
            postgresql_where=text("actor_id is not null"),
        ),
        Index(
            "refresh_family_mandate_id_idx",
            "mandate_id",
            postgresql_where=text("mandate_id is not null"),
        ),
    )

    def get_scope(self) -> str:
        return self.scope

    def check_client(self, client: Client) -> bool:
        return client.client_id == self.client_id


class RefreshToken(Base):
    """One link of a family: used once, replaced by the next."""

    __tablename__ = "refresh_token"
    token_hash: Mapped[str] = mapped_column(primary_key=True)
    family_id: Mapped[str] = mapped_column(ForeignKey("refresh_family.id"), index=True)
    used_at: Mapped[datetime | None]
    replaced_by: Mapped[str | None]
    """Hash of the token that was handed out for it."""


class AuthorizationCode(Base):
    """A code on its way through the browser: once, at most a minute, for one client."""

    __tablename__ = "authorization_code"
    code_hash: Mapped[str] = mapped_column(primary_key=True)
    client_id: Mapped[str] = mapped_column(ForeignKey("client.client_id"))
    session_id: Mapped[str] = mapped_column(ForeignKey("login_session.id"))
    redirect_uri: Mapped[str]
    scope: Mapped[str]
    nonce: Mapped[str | None]
    jkt: Mapped[str | None]
    """Thumbprint of the key that it was asked for with (dpop_jkt)."""
    act_for: Mapped[str | None]
    """A firm or a mandate, where the person does not act for himself."""
    code_challenge: Mapped[str]
    code_challenge_method: Mapped[str]
    expires_at: Mapped[Moment] = mapped_column(index=True)
    family_id: Mapped[str | None]
    """Set when it was used: the family that a second use revokes."""

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope


class LogoutNotice(Base):
    """A client has to be told that a sign-in is over; see back_channel."""

    __tablename__ = "logout_notice"
    client_id: Mapped[str] = mapped_column(ForeignKey("client.client_id"), primary_key=True)
    session_id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str]
    state: Mapped[str]
    """waiting | delivered | given_up"""
    tries: Mapped[int]
    due_at: Mapped[Moment]
    """When it is tried again; of the last try when nothing waits any more."""
    why: Mapped[str | None]
    """What went wrong with the last try: a status or the name of an error."""
    created_at: Mapped[Moment]
    __table_args__ = (Index("logout_notice_state_due_at_idx", "state", "due_at"),)


class PushedRequest(Base):
    """An authorization request that a client pushed (PAR): once, for this client, for minutes."""

    __tablename__ = "pushed_request"
    uri_hash: Mapped[str] = mapped_column(primary_key=True)
    client_id: Mapped[str] = mapped_column(ForeignKey("client.client_id"))
    parameters: Mapped[Document]
    created_at: Mapped[Moment]
    expires_at: Mapped[Moment] = mapped_column(index=True)
    used_at: Mapped[datetime | None]


class DeviceRequest(Base):
    """A terminal that waits until a person agrees on a device of their own (RFC 8628)."""

    __tablename__ = "device_request"
    device_hash: Mapped[str] = mapped_column(primary_key=True)
    user_code_index: Mapped[str] = mapped_column(unique=True)
    """Keyed: eight letters are guessed from a plain hash."""
    client_id: Mapped[str] = mapped_column(ForeignKey("client.client_id"))
    scope: Mapped[str]
    state: Mapped[str]
    """waiting | approved | denied | used"""
    session_id: Mapped[str | None] = mapped_column(ForeignKey("login_session.id"))
    interval: Mapped[int]
    """Seconds that the terminal has to wait between two questions."""
    asked_at: Mapped[datetime | None]
    family_id: Mapped[str | None]
    """As of a code: the family that a second use revokes."""
    expires_at: Mapped[Moment] = mapped_column(index=True)


class SeenOnce(Base):
    """A proof or assertion that was accepted and must not be again, until it is too old."""

    __tablename__ = "seen_once"
    key: Mapped[str] = mapped_column(primary_key=True)
    expires_at: Mapped[Moment] = mapped_column(index=True)


class RevokedToken(Base):
    """An access token given back before its end; forgotten after it."""

    __tablename__ = "revoked_token"
    jti: Mapped[str] = mapped_column(primary_key=True)
    expires_at: Mapped[Moment] = mapped_column(index=True)


class SigningKeyRow(Base):
    """A signing key that all processes share; its PEM lies here sealed."""

    __tablename__ = "signing_key"
    kid: Mapped[str] = mapped_column(primary_key=True)
    pem: Mapped[Sealed]
    state: Mapped[str]
    """next (published) → current (signs) → retired (published until its tokens are dead), or
    withdrawn (not published, as somebody else may have it)"""
    created_at: Mapped[Now]
    current_at: Mapped[datetime | None]
    retired_at: Mapped[datetime | None]
    __table_args__ = (
        Index(
            "signing_key_state_key",
            "state",
            unique=True,
            postgresql_where=text("state in ('next','current')"),
        ),
    )


class AccessLog(Base):
    """Who read somebody's data, and what for: services here, staff in other services."""

    __tablename__ = "access_log"
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("account.id"))
    reader: Mapped[str]
    """Id of the service or member of staff; the person is shown the department instead."""
    dept: Mapped[str | None]
    kind: Mapped[str | None]
    """account (None) | case | material | licence | payment | shipment"""
    object_id: Mapped[str | None]
    purpose: Mapped[str]
    fields: Mapped[Texts]
    at: Mapped[Moment]
    __table_args__: tuple[Any, ...] = (
        Index("access_log_account_id_id_idx", "account_id", "id"),
        {"info": APPEND_ONLY},
    )
