"""A copy of everything that the platform holds of an account (个人信息保护法 art. 45).

Asked for after a fresh sign-in, gathered by a job page by page from each service that holds
something, kept sealed for seven days, then deleted. A service that is away is asked again until
it has told all; what the others told stays. Never more than a page is in memory.
"""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from kit import holdings as doors
from kit.clock import now
from kit.errors import Conflict, NotFound, Unavailable
from kit.ids import new_id
from kit.jobs import wake
from kit.runtime import Runtime
from kit.secrets import Vault
from kit.states import move

from .holdings import PARTS
from .models import AccessLog
from .models_exports import EXPORT_TRANSITIONS, DataExport, ExportPage, ExportSource

HERE = "identity"
ELSEWHERE = ("case", "payment", "licence", "logistics", "helpdesk")
"""Who else holds something of people."""
KEPT = timedelta(days=7)
LEASE = timedelta(minutes=2)
"""How long nobody else works on an export that a process took up; longer with every page."""
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=10), timedelta(hours=1)
RECORDS: TypeAdapter[list[dict[str, Any]]] = TypeAdapter(list[dict[str, Any]])
View = dict[str, Any]


def _bound(export_id: str, source: str, n: int) -> str:
    return f"export_page|content|{export_id}/{source}/{n}"


async def ask(session: AsyncSession, account_id: str) -> DataExport:
    """Gather a copy; the one before is deleted. Raises Conflict while one is being gathered."""
    await session.execute(
        delete(DataExport).where(
            DataExport.account_id == account_id, DataExport.state != "gathering"
        )
    )
    at = now()
    row = DataExport(
        id=new_id("exp"),
        account_id=account_id,
        state="gathering",
        version=1,
        asked_at=at,
        due_at=at,
        tries=0,
    )
    session.add(row)
    try:
        async with session.begin_nested():
            await session.flush()
    except IntegrityError:
        raise Conflict(
            "上一次导出还在进行中,请等待完成。", "Your last export is still being gathered."
        ) from None
    for source in (HERE, *ELSEWHERE):
        session.add(ExportSource(export_id=row.id, source=source, done=False, pages=0))
    session.add(
        AccessLog(
            id=new_id("read"),
            account_id=account_id,
            reader=f"svc-{HERE}",
            purpose="export",
            fields=[HERE, *ELSEWHERE],
            at=at,
        )
    )
    wake(session, "gather_exports")
    return row


async def own(session: AsyncSession, account_id: str, export_id: str) -> DataExport:
    """Raises NotFound, also for somebody else's."""
    row = await session.get(DataExport, export_id)
    if row is None or row.account_id != account_id:
        raise NotFound("没有找到这次导出。", "There is no such export of yours.")
    return row


async def latest(session: AsyncSession, account_id: str) -> Sequence[DataExport]:
    """The exports of an account that are there, the newest first; there are few."""
    query = select(DataExport).where(DataExport.account_id == account_id)
    return (await session.scalars(query.order_by(DataExport.id.desc()).limit(20))).all()


async def view(session: AsyncSession, row: DataExport) -> View:
    """How far an export is: each source, whether it has told all, and how many records so far."""
    counted = (
        select(ExportPage.source, func.sum(ExportPage.records).label("records"))
        .where(ExportPage.export_id == row.id)
        .group_by(ExportPage.source)
    )
    records = {one.source: int(one.records) for one in await session.execute(counted)}
    sources = await session.scalars(
        select(ExportSource).where(ExportSource.export_id == row.id).order_by(ExportSource.source)
    )
    return {
        "id": row.id,
        "state": row.state,
        "asked_at": row.asked_at,
        "ready_at": row.ready_at,
        "expires_at": row.due_at if row.state == "ready" else None,
        "sources": [
            {"source": one.source, "done": one.done, "records": records.get(one.source, 0)}
            for one in sources
        ],
    }


async def take(session: AsyncSession) -> DataExport | None:
    """An export whose turn it is; nobody else works on it for a while."""
    query = (
        select(DataExport)
        .where(DataExport.state == "gathering", DataExport.due_at <= now())
        .order_by(DataExport.due_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row: DataExport | None = await session.scalar(query)
    if row is not None:
        row.due_at = now() + LEASE
    return row


async def gather(runtime: Runtime, export: DataExport) -> None:
    """Ask everybody who has not told all; those who are away later again."""
    complete = True
    for source in (HERE, *ELSEWHERE):
        try:
            while await _turn(runtime, export, source):
                pass
        except Unavailable:
            complete = False
    async with runtime.sessions.begin() as session:
        row = await session.get(DataExport, export.id, with_for_update=True)
        if row is None or row.state != "gathering":
            return
        if complete:
            row.ready_at = now()
            row.due_at = row.ready_at + KEPT
            move(session, row, EXPORT_TRANSITIONS, "finish")
        else:
            row.due_at = now() + min(FIRST_PAUSE * 2 ** min(row.tries, 12), LONGEST_PAUSE)
            row.tries += 1


async def _turn(runtime: Runtime, export: DataExport, source: str) -> bool:
    """Bring in one page of one source; False when there is no more. Raises Unavailable."""
    async with runtime.sessions() as session:
        known = await session.get(ExportSource, (export.id, source))
    if known is None or known.done:
        return False
    page = await _page(runtime, export.account_id, source, known.cursor)
    async with runtime.sessions.begin() as session:
        row = await session.get(ExportSource, (export.id, source), with_for_update=True)
        if row is None or row.done or row.pages != known.pages:
            return False
        content = RECORDS.dump_json(page.items).decode()
        bound = _bound(export.id, source, row.pages)
        session.add(
            ExportPage(
                export_id=export.id,
                source=source,
                n=row.pages,
                part=page.part,
                title=page.title,
                title_en=page.title_en,
                records=len(page.items),
                content=runtime.vault.seal(content, bound_to=bound),
            )
        )
        row.pages, row.cursor, row.done = row.pages + 1, page.next, page.next is None
        gathering = await session.get(DataExport, export.id, with_for_update=True)
        if gathering is not None and gathering.state == "gathering":
            gathering.due_at = now() + LEASE
        return not row.done


async def _page(
    runtime: Runtime, account_id: str, source: str, cursor: str | None
) -> doors.ExportPage:
    if source == HERE:
        number, _, after = (cursor or "0:").partition(":")
        asked = doors.Asked(runtime.vault, account_id, after)
        async with runtime.sessions() as session:
            return await doors.page(session, PARTS, asked, int(number))
    params = {"purpose": "export", **({"cursor": cursor} if cursor else {})}
    path = f"/internal/v1/accounts/{account_id}/export"
    return doors.ExportPage.model_validate(await runtime.calls.get(source, path, params=params))


async def expire(session: AsyncSession, *, limit: int = 50) -> int:
    """Delete the copies whose days are over; what is left is that there was one."""
    query = (
        select(DataExport)
        .where(DataExport.state == "ready", DataExport.due_at <= now())
        .order_by(DataExport.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = (await session.scalars(query)).all()
    for row in rows:
        for model in (ExportPage, ExportSource):
            await session.execute(delete(model).where(model.export_id == row.id))
        move(session, row, EXPORT_TRANSITIONS, "expire")
    return len(rows)


async def contents(session: AsyncSession, export_id: str) -> list[View]:
    """What is in an export, in order: (source, n, part, titles, records) without the records."""
    names = ("source", "n", "part", "title", "title_en", "records")
    query = (
        select(*(getattr(ExportPage, name) for name in names))
        .where(ExportPage.export_id == export_id)
        .order_by(ExportPage.source, ExportPage.n)
    )
    return [dict(row) for row in (await session.execute(query)).mappings()]


async def records(
    session: AsyncSession, vault: Vault, export_id: str, source: str, n: int
) -> list[Any] | None:
    """The records of one page; None when the copy was deleted meanwhile."""
    row = await session.get(ExportPage, (export_id, source, n))
    if row is None:
        return None
    found: list[Any] = json.loads(vault.open(row.content, bound_to=_bound(export_id, source, n)))
    return found


def downloadable(row: DataExport, at: datetime) -> None:
    """Raises Conflict while it is gathered, NotFound after its days."""
    if row.state == "gathering":
        raise Conflict(
            "数据仍在汇集中,完成后可以下载。", "It is still being gathered; download it then."
        )
    if row.state != "ready" or row.due_at <= at:
        raise NotFound(
            "导出文件已过七天保存期并删除,请重新导出。",
            "The copy was deleted after seven days; ask for a new one.",
        )
