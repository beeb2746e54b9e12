"""What a service holds of an account, said once: behind it lie two doors that every such service
has, for the export of one's own data (个人信息保护法 art. 45) and for the closing of an account
(art. 47). A service lists its parts in a few lines and adds `holdings.router(...)` to its doors.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from . import routing
from .auth import ServiceCaller
from .pages import Cursor
from .routing import Out, Session
from .secrets import Vault

log = logging.getLogger(__name__)
PAGE = 50
MOST_MATTERS = 100
Record = dict[str, Any]
Open = tuple[str, str]
"""(kind, id) of a thing that must come to its end before its account does."""


@dataclass(frozen=True)
class Asked:
    """A page of one part: the records of `account_id` whose id is greater than `after`."""

    vault: Vault
    account_id: str
    after: str

    async def rows(self, session: AsyncSession, model: Any, owner: Any) -> Sequence[Any]:
        """The page of a table whose column `owner` names the account."""
        query = select(model).where(owner == self.account_id, model.id > self.after)
        return (await session.scalars(query.order_by(model.id).limit(PAGE))).all()


@dataclass(frozen=True)
class Part:
    """One file of an export. `read` gives at most PAGE records in the order of their `id`, in
    clear, for the person alone."""

    name: str
    title: str
    title_en: str
    read: Callable[[AsyncSession, Asked], Awaitable[Sequence[Record]]]


class ExportPage(Out):
    """Records of one part; `next` leads on, also into the next part, and is None at the end."""

    part: str
    title: str
    title_en: str
    items: list[Record]
    next: str | None


class Matter(Out):
    kind: str
    id: str


class Matters(Out):
    """At most 100."""

    items: list[Matter]


def picked(row: Any, *names: str) -> Record:
    """The named columns of a row."""
    return {name: getattr(row, name) for name in names}


async def page(session: AsyncSession, parts: Sequence[Part], asked: Asked, at: int) -> ExportPage:
    """The page of the part number `at`; its `next` is written `<number>:<id>`."""
    part = parts[at]
    items = list(await part.read(session, asked))
    following = None
    if len(items) == PAGE:
        following = f"{at}:{items[-1]['id']}"
    elif at + 1 < len(parts):
        following = f"{at + 1}:"
    return ExportPage(
        part=part.name, title=part.title, title_en=part.title_en, items=items, next=following
    )


def router(
    service: str,
    parts: Sequence[Part],
    open_matters: Callable[[AsyncSession, str], Awaitable[Sequence[Open]]] | None = None,
) -> APIRouter:
    """The doors of one service, for services alone; names carry the service."""
    doors = routing.router(prefix="/internal/v1/accounts/{account_id}", tags=["internal"])

    @doors.get("/export", name=f"export_{service}_data")
    async def export(
        request: Request,
        session: Session,
        caller: ServiceCaller,
        account_id: str,
        purpose: Annotated[Literal["export"], Query()] = "export",
        cursor: Cursor = None,
    ) -> ExportPage:
        """What is held of an account, page by page, for its owner; the read is logged."""
        runtime = request.app.state.runtime
        filters = {"of": "export", "account": account_id}
        at, after = runtime.cursors.read(cursor, filters) or (0, "")
        if cursor is None:
            # Whose it is stands in the access log that its owner reads, not here.
            fields = {"reader": caller.subject, "purpose": purpose}
            log.info("personal data read", extra={"fields": fields})
        found = await page(session, parts, Asked(runtime.vault, account_id, after), at)
        if found.next is not None:
            number, _, last = found.next.partition(":")
            found.next = runtime.cursors.write([int(number), last], filters)
        return found

    if open_matters is not None:
        look = open_matters

        @doors.get("/open-matters", name=f"list_{service}_open_matters")
        async def list_open_matters(session: Session, _: ServiceCaller, account_id: str) -> Matters:
            """What must come to its end before this account can be closed."""
            found = (await look(session, account_id))[:MOST_MATTERS]
            return Matters(items=[Matter(kind=kind, id=id) for kind, id in found])

    return doors
