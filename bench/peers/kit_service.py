"""A service on our kit with one table: a creation with its event and its key, and reads of it.

`python -m bench.peers.kit_service PORT DATABASE NATS JWKS VAULT ISSUER`
"""

import sys
from pathlib import Path
from typing import Any, ClassVar

import uvicorn
from fastapi import FastAPI, Request
from pydantic import Field, SecretStr
from sqlalchemy import Index, select
from sqlalchemy.orm import Mapped, mapped_column

from contracts.event import Event
from kit import collector
from kit.app import create_app
from kit.auth import Applicant
from kit.db import Now, ServiceBase, new_metadata
from kit.errors import NotFound
from kit.ids import uuid7
from kit.lookups import Lookup, Lookups
from kit.outbox import emit
from kit.pages import Cursor, Limit, Page, clamp, link
from kit.routing import Creating, In, Out, Session, router
from kit.settings import ServiceSettings


class MatterOpened(Event):
    """For the benchmark only; nobody listens."""

    TYPE: ClassVar[str] = "case.matter_opened.v1"
    matter_id: str
    item_code: str


class Base(ServiceBase):
    metadata = new_metadata()


class Matter(Base):
    __tablename__ = "matter"
    id: Mapped[str] = mapped_column(primary_key=True)
    owner_id: Mapped[str]
    item_code: Mapped[str]
    region: Mapped[str]
    state: Mapped[str]
    version: Mapped[int]
    created_at: Mapped[Now]
    __table_args__ = (Index("matter_owner_id_id_idx", "owner_id", "id"),)


class MatterIn(In):
    item_code: str = Field(max_length=20)
    region: str = Field(pattern=r"^\d{6}$")


class MatterOut(Out):
    id: str
    item_code: str
    region: str
    state: str
    version: int


routes = router(prefix="/v1/cases")


@routes.post("", status_code=201)
async def open_matter(session: Creating, caller: Applicant, given: MatterIn) -> MatterOut:
    matter = Matter(
        id=f"mat_{uuid7().hex}",
        owner_id=caller.subject,
        item_code=given.item_code,
        region=given.region,
        state="draft",
        version=1,
    )
    session.add(matter)
    event = MatterOpened(matter_id=matter.id, item_code=matter.item_code)
    emit(session, event, subject=matter.id, version=1, region=matter.region)
    return MatterOut.model_validate(matter)


@routes.get("")
async def list_matters(
    request: Request, session: Session, caller: Applicant, limit: Limit = 50, cursor: Cursor = None
) -> Page[MatterOut]:
    cursors, filters = request.app.state.runtime.cursors, {"owner": caller.subject}
    query = select(Matter).where(Matter.owner_id == caller.subject).order_by(Matter.id)
    if (after := cursors.read(cursor, filters)) is not None:
        query = query.where(Matter.id > after[0])
    rows = (await session.scalars(query.limit(clamp(limit) + 1))).all()
    items = [MatterOut.model_validate(row) for row in rows[: clamp(limit)]]
    more = len(rows) > len(items)
    next_ = link("/v1/cases", cursors.write([items[-1].id], filters), limit=limit) if more else None
    return Page(items=items, next=next_)


MATTER = Lookup(select(Matter), by=Matter.id)


@routes.get("/{matter_id}")
async def get_matter(lookups: Lookups, caller: Applicant, matter_id: str) -> MatterOut:
    matter = await lookups.one(MATTER, matter_id)
    if matter is None or matter.owner_id != caller.subject:
        raise NotFound("没有这件。", "There is no such matter for you.")
    return MatterOut.model_validate(matter)


def build(database: str, nats: str, jwks: str, vault: str, issuer: str) -> FastAPI:
    settings = ServiceSettings(
        service="case",
        environment="test",
        database_url=SecretStr(database),
        database_pool=10,
        nats_url=nats,
        issuer=issuer,
        jwks_url=Path(jwks).as_uri(),
        vault_key_file=Path(vault),
    )
    return create_app(settings, title="bench", routers=[routes])


if __name__ == "__main__":
    app = build(*sys.argv[2:])
    collector.quieten()
    quiet: dict[str, Any] = {"access_log": False, "log_level": "warning", "server_header": False}
    uvicorn.run(
        app, port=int(sys.argv[1]), loop="uvloop", http="httptools", proxy_headers=False, **quiet
    )
