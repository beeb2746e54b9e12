"""Tables of licence-svc and the ways that their states move."""

from datetime import date

from sqlalchemy import BigInteger, Identity, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from contracts.licence import (
    LicenceExpired,
    LicenceReplaced,
    LicenceResumed,
    LicenceRevoked,
    LicenceSuspended,
    PresentationUsed,
)
from kit.db import APPEND_ONLY, Document, Moment, Now, Sealed, ServiceBase, new_metadata
from kit.states import Transitions

LIVE = ("active", "suspended")

LICENCE: Transitions = {
    ("active", "suspend"): ("suspended", LicenceSuspended),
    ("suspended", "resume"): ("active", LicenceResumed),
    ("active", "revoke"): ("revoked", LicenceRevoked),
    ("suspended", "revoke"): ("revoked", LicenceRevoked),
    ("active", "replace"): ("replaced", LicenceReplaced),
    ("suspended", "replace"): ("replaced", LicenceReplaced),
    ("active", "expire"): ("expired", LicenceExpired),
    ("suspended", "expire"): ("expired", LicenceExpired),
}
ORDER: Transitions = {("due", "issue"): ("issued", None)}
PRESENTATION: Transitions = {
    ("ready", "use"): ("used", PresentationUsed),
    ("ready", "expire"): ("expired", None),
}


class Base(ServiceBase):
    metadata = new_metadata()


class Issuer(Base):
    """A department that defines or issues licences."""

    __tablename__ = "issuer"
    dept: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    uscc: Mapped[str]


class LicenceType(Base):
    """A kind of licence. `type_code`: credit code of the department that defines it + 3 digits."""

    __tablename__ = "licence_type"
    code: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    definer: Mapped[str]
    type_code: Mapped[str] = mapped_column(unique=True)
    per_holder: Mapped[bool]
    """A holder has at most one that lives: a new one replaces it."""
    face_fields: Mapped[list[str]] = mapped_column(JSONB)
    """What such a licence says beside its holder; what else stands in a case is left out."""
    open_fields: Mapped[list[str]] = mapped_column(JSONB)
    """Those that are no personal data; the others are sealed and disclosed one by one."""


class IssuerKey(Base):
    """A key pair for licences, presentations and status lists; the private half is sealed."""

    __tablename__ = "issuer_key"
    kid: Mapped[str] = mapped_column(primary_key=True)
    ordinal: Mapped[int] = mapped_column(BigInteger, Identity(), unique=True)
    public_jwk: Mapped[Document]
    private_sealed: Mapped[Sealed]
    created_at: Mapped[Now]


class Licence(Base):
    """An electronic licence (电子证照), with type and issuer as they were when it was made."""

    __tablename__ = "licence"
    id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(default=1)
    state: Mapped[str] = mapped_column(default="active")
    ordinal: Mapped[int] = mapped_column(BigInteger, Identity(), unique=True)
    """Counts all licences; its place in the status lists follows from it."""
    licence_type: Mapped[str]
    type_code: Mapped[str]
    name: Mapped[str]
    number: Mapped[str] = mapped_column(unique=True)
    """证照标识 of GB/T 36904"""
    serial: Mapped[str]
    edition: Mapped[int]
    issuer_code: Mapped[str]
    issuer_name: Mapped[str]
    region: Mapped[str]
    dept: Mapped[str]
    holder_id: Mapped[str] = mapped_column(index=True)
    """Account that the licence belongs to."""
    holder_kind: Mapped[str]
    """person | enterprise"""
    holder_name: Mapped[Sealed]
    holder_number: Mapped[Sealed]
    holder_index: Mapped[str]
    """Keyed hash of the holder's number."""
    per_holder: Mapped[bool]
    fields: Mapped[Document]
    sealed_fields: Mapped[Sealed]
    """JSON of the fields that are personal data."""
    credential: Mapped[Sealed]
    """SD-JWT VC with all its disclosures."""
    kid: Mapped[str]
    valid_from: Mapped[date]
    valid_until: Mapped[date | None]
    """Last day of validity in Beijing; None means long-term (长期)."""
    case_id: Mapped[str | None] = mapped_column(unique=True)
    item_code: Mapped[str | None]
    issued_at: Mapped[Now]
    __table_args__ = (
        Index(
            "licence_live_per_holder_idx",
            "licence_type",
            "holder_index",
            unique=True,
            postgresql_where=text("per_holder and state in ('active', 'suspended')"),
        ),
        Index(
            "licence_not_active_idx",
            "ordinal",
            postgresql_where=text("state <> 'active'"),
        ),
        Index(
            "licence_valid_until_idx",
            "valid_until",
            postgresql_where=text("state in ('active', 'suspended')"),
        ),
    )


class LicenceChange(Base):
    """Who moved a licence's state, and why."""

    __tablename__ = "licence_change"
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    licence_id: Mapped[str] = mapped_column(index=True)
    action: Mapped[str]
    reason_code: Mapped[str]
    actor: Mapped[str]
    at: Mapped[Now]
    __table_args__ = ({"info": APPEND_ONLY},)


class LicenceOrder(Base):
    """An approved case that must get its licence; kept until it has it."""

    __tablename__ = "licence_order"
    id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(default=1)
    state: Mapped[str] = mapped_column(default="due")
    case_id: Mapped[str] = mapped_column(unique=True)
    holder_id: Mapped[str]
    item_code: Mapped[str]
    licence_type: Mapped[str]
    years: Mapped[int | None]
    delivery: Mapped[str]
    address_id: Mapped[str | None]
    region: Mapped[str]
    dept: Mapped[str]
    correlationid: Mapped[str | None]
    traceparent: Mapped[str | None]
    tries: Mapped[int] = mapped_column(default=0)
    next_try_at: Mapped[Moment]
    trouble: Mapped[str | None]
    """Code of what went wrong last; never personal data."""
    licence_id: Mapped[str | None]
    created_at: Mapped[Now]
    __table_args__ = (
        Index("licence_order_due_idx", "next_try_at", postgresql_where=text("state = 'due'")),
    )


class Presentation(Base):
    """A holder shows a licence once, for one purpose (亮证)."""

    __tablename__ = "presentation"
    id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(default=1)
    state: Mapped[str] = mapped_column(default="ready")
    licence_id: Mapped[str] = mapped_column(index=True)
    holder_id: Mapped[str]
    region: Mapped[str]
    dept: Mapped[str]
    purpose: Mapped[Sealed]
    expires_at: Mapped[Moment]
    used_at: Mapped[Moment | None]
    created_at: Mapped[Now]
    __table_args__ = (
        Index("presentation_ready_idx", "expires_at", postgresql_where=text("state = 'ready'")),
    )


def sealed_at(table: str, column: str, row_id: str) -> str:
    """What a sealed value is bound to."""
    return f"{table}|{column}|{row_id}"
