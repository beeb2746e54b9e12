"""Tables of signing in by a provider above us."""

from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from kit.db import Moment, Sealed

from .base import Base


class UpstreamLink(Base):
    """Whose account somebody of the provider above enters."""

    __tablename__ = "upstream_link"
    subject_index: Mapped[str] = mapped_column(primary_key=True)
    """Keyed: issuer and subject."""
    account_id: Mapped[str] = mapped_column(ForeignKey("account.id"), index=True)
    linked_at: Mapped[Moment]
    used_at: Mapped[datetime | None]


class UpstreamSignIn(Base):
    """Somebody who was sent to the provider above and may come back, once."""

    __tablename__ = "upstream_sign_in"
    state_hash: Mapped[str] = mapped_column(primary_key=True)
    browser_hash: Mapped[str]
    """Of the key in the browser's cookie."""
    asking: Mapped[Sealed]
    """Nonce and verifier."""
    return_to: Mapped[str]
    expires_at: Mapped[Moment] = mapped_column(index=True)
