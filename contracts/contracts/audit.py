"""Each service tells of every block of records that it sealed, so that others know its head."""

from typing import ClassVar, Literal

from .event import Event


class _AuditSealed(Event):
    """Records that may never change (what staff did, timelines, bookings) were sealed into a block
    of the service's chain. `subject` is `audit_<service>`, the version the block's number."""

    block: int
    kind: Literal["first", "rows", "accepted"]
    """first: what was there before sealing began; accepted: a person has looked at what did not
    fit, and says that the chain goes on from here."""
    rows: int
    """How many records the block seals."""
    previous: str
    """Hash of the block before; empty: there is none."""
    hash: str
    """SHA-256 of the block, see docs/operations.md."""
    signature: str
    """JWS (RFC 7515) over service, block and hash with the service's own key; empty without one."""


class IdentityAuditSealed(_AuditSealed):
    """A block of identity-svc's records was sealed."""

    TYPE: ClassVar[str] = "identity.audit_sealed.v1"


class CatalogAuditSealed(_AuditSealed):
    """A block of catalog-svc's records was sealed."""

    TYPE: ClassVar[str] = "catalog.audit_sealed.v1"


class CaseAuditSealed(_AuditSealed):
    """A block of case-svc's records was sealed."""

    TYPE: ClassVar[str] = "case.audit_sealed.v1"


class LicenceAuditSealed(_AuditSealed):
    """A block of licence-svc's records was sealed."""

    TYPE: ClassVar[str] = "licence.audit_sealed.v1"


class PaymentAuditSealed(_AuditSealed):
    """A block of payment-svc's records was sealed."""

    TYPE: ClassVar[str] = "payment.audit_sealed.v1"


class LogisticsAuditSealed(_AuditSealed):
    """A block of logistics-svc's records was sealed."""

    TYPE: ClassVar[str] = "logistics.audit_sealed.v1"


class HelpdeskAuditSealed(_AuditSealed):
    """A block of helpdesk-svc's records was sealed."""

    TYPE: ClassVar[str] = "helpdesk.audit_sealed.v1"


class ExchangeAuditSealed(_AuditSealed):
    """A block of exchange-svc's records was sealed."""

    TYPE: ClassVar[str] = "exchange.audit_sealed.v1"
