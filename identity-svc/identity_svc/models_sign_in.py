"""Tables of the ways in beside a password and a number: WeChat and passkeys."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from kit.db import Moment, Sealed

from .base import Base


class WeChatBinding(Base):
    """Whose account a user of the WeChat mini-program enters."""

    __tablename__ = "wechat_binding"
    user_index: Mapped[str] = mapped_column(primary_key=True)
    """Keyed: the openid is personal data."""
    account_id: Mapped[str] = mapped_column(ForeignKey("account.id"), unique=True)
    added_at: Mapped[Moment]
    used_at: Mapped[datetime | None]


class Passkey(Base):
    """A key on a person's device (WebAuthn)."""

    __tablename__ = "passkey"
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("account.id"), index=True)
    credential_id: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    public_key: Mapped[bytes] = mapped_column(LargeBinary)
    """As COSE says it."""
    sign_count: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[Sealed]
    """What its owner calls it."""
    device_bound: Mapped[bool]
    """It never leaves its device."""
    added_at: Mapped[Moment]
    used_at: Mapped[datetime | None]
