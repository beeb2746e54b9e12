"""Requests and answers of identity-svc."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from kit.routing import In, Out

from . import identifiers


def _new_password(secret: SecretStr) -> SecretStr:
    identifiers.password(secret.get_secret_value())
    return secret


NewPassword = Annotated[SecretStr, Field(max_length=128), AfterValidator(_new_password)]


class Registration(In):
    """A person registers. Without a code from the telephone nothing of it is proven: the
    account starts at level L0."""

    name: Annotated[str, Field(max_length=100), AfterValidator(identifiers.name)]
    id_number: Annotated[str, Field(max_length=40), AfterValidator(identifiers.id_number)]
    phone: Annotated[str, Field(max_length=40), AfterValidator(identifiers.phone)]
    password: NewPassword | None = None
    """May be left out when there is a `phone_code`: the account is then entered by codes."""
    phone_code: "PhoneProof | None" = None
    """With the code that was sent to this number the account starts at level L1."""

    @model_validator(mode="after")
    def _some_way_in(self) -> "Registration":
        if self.password is None and self.phone_code is None:
            raise identifiers.Unfit(
                "请设置密码,或先用短信验证码核验手机号。",
                "Set a password, or prove the number by a code first.",
            )
        return self


class PhoneProof(In):
    """A code that came by short message."""

    id: Annotated[str, Field(max_length=80)]
    code: Annotated[SecretStr, Field(max_length=6)]


class PhoneCodeRequest(In):
    """A code for registering with this number, or for making it the caller's."""

    purpose: Literal["register", "change_phone"] = "register"
    phone: Annotated[str, Field(max_length=40), AfterValidator(identifiers.phone)]


class PhoneCodeSent(Out):
    """The same answer whether the number has an account or not. `unknown`: it may have gone out;
    wait a minute for it before asking again."""

    id: str
    delivery: Literal["sent", "unknown"]
    expires_in: int


class Received(Out):
    """The same answer whether the telephone number was new or had an account already."""

    status: str = "received"
    next: str = "/oauth2/login"


class StaffView(Out):
    number: str
    roles: list[str]
    dept: str
    region: str
    items: list[str] | None


AccountStates = Literal["active", "suspended", "closed"]


class Me(Out):
    """An account as its owner sees it: name, number and phone masked."""

    id: str
    kind: Literal["person", "enterprise", "staff"]
    state: AccountStates
    level: Literal["L0", "L1", "L2", "L3", "L4"]
    """What is proven of who it is: nothing … in person."""
    name: str
    id_number: str | None
    phone: str | None
    staff: StaffView | None
    created_at: datetime


class Holder(Out):
    """Unmasked, for a service that issues or delivers something to this account."""

    id: str
    kind: str
    level: str
    name: str
    id_number: str | None


class Read(Out):
    """One reading of the caller's data by somebody else."""

    id: str
    reader: str
    """The service, or the department whose staff it was."""
    dept: str | None
    dept_name: str | None
    kind: str
    """account | case | material | licence | payment | shipment"""
    kind_name: str
    kind_name_en: str
    object_id: str | None
    purpose: str
    purpose_name: str
    purpose_name_en: str
    fields: list[str]
    at: datetime


class PublicKey(In):
    """A P-256 public key as in a JWKS. Private parts are refused."""

    kty: Literal["EC"]
    crv: Literal["P-256"]
    # The example of RFC 7517 appendix A.1.
    x: Annotated[
        str,
        Field(
            pattern="^[A-Za-z0-9_-]{43}$", examples=["MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4"]
        ),
    ]
    y: Annotated[
        str,
        Field(
            pattern="^[A-Za-z0-9_-]{43}$", examples=["4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"]
        ),
    ]
    kid: Annotated[str, Field(min_length=1, max_length=100)]
    use: Literal["sig"] = "sig"
    alg: Literal["ES256"] = "ES256"


Address = Annotated[str, Field(max_length=500), AfterValidator(identifiers.redirect_uri)]


class ClientRegistration(In):
    """Somebody else's application. With keys it proves itself by private_key_jwt and must push
    its requests and bind its tokens; without keys it is a public client."""

    name: Annotated[str, Field(min_length=2, max_length=60)]
    name_en: Annotated[str, Field(min_length=2, max_length=60)]
    redirect_uris: Annotated[
        list[Annotated[str, Field(max_length=500), AfterValidator(identifiers.redirect_uri)]],
        Field(min_length=1, max_length=10),
    ]
    scopes: Annotated[list[Literal["openid", "profile"]], Field(min_length=1, max_length=2)]
    keys: Annotated[list[PublicKey], Field(max_length=5, default_factory=list)]
    backchannel_logout_uri: Address | None = None
    """Where it is told that a sign-in is over (OpenID Connect Back-Channel Logout 1.0)."""
    jwks_uri: Address | None = None
    """Where its keys lie, in place of `keys`."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.keys and self.jwks_uri:
            raise identifiers.Unfit(
                "keys 与 jwks_uri 只能填一个。", "Send one of keys and jwks_uri."
            )
        return self


class ClientEntry(In):
    """A system as operators register it from the command line."""

    name: Annotated[str, Field(min_length=2, max_length=60)]
    name_en: Annotated[str, Field(min_length=2, max_length=60)]
    redirect_uris: Annotated[list[Address], Field(max_length=10)]
    logout_uris: Annotated[list[Address], Field(max_length=10)]
    backchannel_logout_uri: Address | None
    jwks_uri: Address | None
    keys: Annotated[list[PublicKey], Field(max_length=5)]
    scopes: list[Literal["openid", "profile", "events"]]
    grants: list[Literal["code", "device", "exchange", "credentials"]]
    dept: Annotated[str | None, Field(max_length=20)]
    strict: bool
    third_party: bool


class ClientView(Out):
    client_id: str
    name: str
    name_en: str
    redirect_uris: list[str]
    scopes: list[str]
    bound: bool
    pushed_only: bool
    backchannel_logout_uri: str | None
    jwks_uri: str | None
    active: bool
    registered_by: str | None
    version: int


class ConsentView(Out):
    """A client that the caller lets know something."""

    client_id: str
    name: str
    name_en: str
    scopes: list[str]
    given_at: datetime


class Consents(Out):
    items: list[ConsentView]


class AccountState(Out):
    id: str
    state: AccountStates
    version: int


class Department(Out):
    code: str
    name: str
    uscc: str
    uscc_synthetic: bool
    """True where the unified social credit code is made up."""


class District(Out):
    code: str
    """Six digits of GB/T 2260."""
    name: str


class Places(Out):
    departments: list[Department]
    districts: list[District]
