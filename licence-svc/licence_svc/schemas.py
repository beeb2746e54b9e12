"""Requests and answers of licence-svc."""

from datetime import date, datetime
from typing import Any, Literal, Self

from pydantic import Field

from kit.routing import In, Out
from kit.secrets import Vault

from .faces import Face, all_fields
from .models import Licence
from .presentations import Refusal, Shown, Verdict

State = Literal["active", "suspended", "expired", "revoked", "replaced"]


class LicenceTypeOut(Out):
    code: str
    name: str
    definer: str = Field(description="department that defines the type")
    type_code: str = Field(description="national code: credit code of the definer and 3 digits")
    per_holder: bool = Field(description="a holder has at most one; a new one replaces it")


class LicenceOut(Out):
    """A licence as its holder sees it in a list: names and numbers masked."""

    id: str
    licence_type: str
    name: str
    number: str = Field(description="证照标识, GB/T 36904")
    state: State
    holder_name: str = Field(description="masked")
    holder_number: str = Field(description="masked")
    issuer_name: str
    region: str
    dept: str
    valid_from: date
    valid_until: date | None = Field(description="last day in Beijing; null: long-term (长期)")
    case_id: str | None
    item_code: str | None
    issued_at: datetime

    @classmethod
    def of(cls, face: Face) -> Self:
        return cls.model_validate(_told(face))


class LicenceDetail(LicenceOut):
    metadata: dict[str, str] = Field(description="elements of GB/T 36903; holder masked")
    fields: dict[str, Any] = Field(description="what the licence says, for its holder only")

    @classmethod
    def of_row(cls, vault: Vault, face: Face) -> Self:
        told = _told(face) | {"metadata": face.metadata, "fields": all_fields(vault, face.row)}
        return cls.model_validate(told)


def _told(face: Face) -> dict[str, Any]:
    row: Licence = face.row
    told = {name: getattr(row, name, None) for name in LicenceOut.model_fields}
    return told | {"holder_name": face.holder_name, "holder_number": face.holder_number}


class CredentialOut(Out):
    format: Literal["dc+sd-jwt"] = "dc+sd-jwt"
    credential: str


class PresentIn(In):
    purpose: str = Field(
        min_length=2, max_length=200, description="用证事由: shown to the verifier"
    )


class PresentationOut(Out):
    id: str
    licence_id: str
    state: Literal["ready", "used", "expired"]
    token: str
    qr_svg: str
    expires_at: datetime

    @classmethod
    def of(cls, shown: Shown) -> Self:
        row = shown.row
        return cls(
            id=row.id,
            licence_id=row.licence_id,
            state="ready",
            token=shown.token,
            qr_svg=shown.qr_svg,
            expires_at=row.expires_at,
        )


class VerifyIn(In):
    token: str = Field(min_length=1, max_length=8192)


class VerdictOut(Out):
    accepted: bool
    reason: Refusal | None = Field(description="why it was refused; null when accepted")
    licence_type: str | None = None
    name: str | None = None
    number: str | None = None
    issuer_name: str | None = None
    state: State | None = None
    valid_until: date | None = None
    holder_name: str | None = Field(None, description="masked; only when accepted")
    holder_number: str | None = Field(None, description="masked; only when accepted")
    purpose: str | None = Field(None, description="only when accepted")

    @classmethod
    def of(cls, verdict: Verdict) -> Self:
        told: dict[str, Any] = {"accepted": verdict.refusal is None, "reason": verdict.refusal}
        if verdict.licence is not None:
            names = ("licence_type", "name", "number", "issuer_name", "state", "valid_until")
            told |= {name: getattr(verdict.licence, name) for name in names}
        if verdict.face is not None:
            told |= {
                "holder_name": verdict.face.holder_name,
                "holder_number": verdict.face.holder_number,
                "purpose": verdict.purpose,
            }
        return cls.model_validate(told)


class ChangeIn(In):
    action: Literal["suspend", "resume", "revoke"]
    reason_code: Literal[
        "investigation",
        "investigation_ended",
        "holder_request",
        "unlawful_conduct",
        "obtained_by_deceit",
        "issued_in_error",
    ]


class StatusOut(Out):
    id: str
    number: str
    state: State
    version: int


class OrderOut(Out):
    """A licence that is still to be made; `trouble` is the code of what went wrong last."""

    id: str
    state: Literal["due", "issued"]
    case_id: str
    licence_type: str
    region: str
    dept: str
    tries: int
    next_try_at: datetime
    trouble: str | None
    licence_id: str | None
    created_at: datetime
