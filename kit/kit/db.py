"""The base of the tables that every service's database has, and shared column types."""

from datetime import datetime
from typing import Annotated, Any

from sqlalchemy import DateTime, LargeBinary, MetaData, String, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, registry

from .pool import FairPool
from .sessions import RowSession

NAMING = {
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ck": "%(table_name)s_%(constraint_name)s_check",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "pk": "%(table_name)s_pkey",
}
TYPES: dict[Any, Any] = {datetime: DateTime(timezone=True), str: String()}
APPEND_ONLY = {"append_only": True}
"""`__table_args__ = {"info": APPEND_ONLY}`: the running service may insert and read, no more."""

Sessions = async_sessionmaker[AsyncSession]
Moment = Annotated[datetime, mapped_column(DateTime(timezone=True))]
Now = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now())]
Document = Annotated[dict[str, Any], mapped_column(JSONB)]
Sealed = Annotated[bytes, mapped_column(LargeBinary)]
"""Ciphertext of kit.secrets.Vault."""


class ServiceBase(DeclarativeBase):
    """Base of a service's own tables: `class Base(ServiceBase): metadata = new_metadata()`.

    Each such Base has a registry of its own, so that services can share a process.
    """

    __abstract__ = True
    type_annotation_map = TYPES

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if ServiceBase in cls.__bases__:
            cls.__abstract__ = True
            cls.registry = cls._sa_registry = registry(
                metadata=cls.metadata, type_annotation_map=cls.type_annotation_map
            )
        super().__init_subclass__(**kwargs)


def new_metadata() -> MetaData:
    return MetaData(naming_convention=NAMING)


class KitBase(DeclarativeBase):
    """Tables that every service's database has: outbox, inbox, dead letters, idempotency keys."""

    metadata = new_metadata()
    type_annotation_map = TYPES


class IdempotencyKey(KitBase):
    """The first answer to a request, kept to be given again (24 h and more, see jobs)."""

    __tablename__ = "idempotency_key"
    client: Mapped[str] = mapped_column(primary_key=True)
    route: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    status: Mapped[int | None]
    headers: Mapped[dict[str, str] | None] = mapped_column(JSONB)
    body: Mapped[bytes | None] = mapped_column(LargeBinary)
    """Sealed: it holds what the caller was told, personal data too."""
    created_at: Mapped[Now] = mapped_column(index=True)


def open_engine(url: str, *, pool: int = 5, overflow: int = 3) -> AsyncEngine:
    """An engine whose waits all have an end: connect 5 s, statement 10 s, pool 5 s."""
    return create_async_engine(
        url,
        poolclass=FairPool,
        pool_size=pool,
        max_overflow=overflow,
        pool_timeout=5,
        pool_pre_ping=False,
        pool_recycle=1800,
        hide_parameters=True,  # values of people must not reach a log with an error
        connect_args={"timeout": 5, "command_timeout": 10},
    )


def open_sessions(engine: AsyncEngine) -> Sessions:
    return async_sessionmaker(
        engine, sync_session_class=RowSession, expire_on_commit=False, autoflush=False
    )
