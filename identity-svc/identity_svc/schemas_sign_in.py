"""Requests and answers about the ways to sign in."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from kit.routing import In, Out

from . import identifiers
from .schemas import NewPassword, PhoneProof

Digest = Annotated[
    str,
    Field(
        pattern="^[A-Za-z0-9_-]{43}$",
        # The example of RFC 7636 appendix B.
        examples=["E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"],
    ),
]
"""SHA-256, base64url."""
WeChatCode = Annotated[SecretStr, Field(min_length=1, max_length=200)]


class SignInWay(Out):
    """One way into the caller's account."""

    way: Literal["password", "phone_code", "wechat", "passkey"]
    id: str | None
    """Of a passkey."""
    hint: str | None
    """The number, masked; the name of a passkey."""
    added_at: datetime | None
    used_at: datetime | None


class SignInWays(Out):
    items: list[SignInWay]


class PasswordChange(In):
    """`current` is needed when the account has a password already."""

    current: Annotated[SecretStr, Field(max_length=128)] | None = None
    new: NewPassword


class PhoneChange(In):
    """A new number with the code that `POST /v1/phone-codes` (change_phone) sent to it."""

    phone: Annotated[str, Field(max_length=40), AfterValidator(identifiers.phone)]
    phone_code: PhoneProof


class WeChatUser(In):
    """What `wx.login` gave the mini-program."""

    code: WeChatCode


class Newcomer(In):
    """Who has no account yet."""

    name: Annotated[str, Field(max_length=100), AfterValidator(identifiers.name)]
    id_number: Annotated[str, Field(max_length=40), AfterValidator(identifiers.id_number)]


class WeChatSignIn(In):
    """What the mini-program was given, and what its token request will be held to."""

    client_id: Annotated[str, Field(min_length=1, max_length=100)]
    code: WeChatCode
    """From `wx.login`."""
    phone_code: WeChatCode | None = None
    """From the number's button; needed while the user is bound to no account."""
    newcomer: Newcomer | None = None
    """Needed while no account has the number."""
    scope: Annotated[str, Field(max_length=100)] = "openid"
    code_challenge: Digest
    """PKCE, S256."""
    nonce: Annotated[str, Field(max_length=255)] | None = None
    dpop_jkt: Digest | None = None


class SignInCode(Out):
    """For `POST /oauth2/token`, `grant_type=authorization_code`, without `redirect_uri`."""

    code: str
    expires_in: int
