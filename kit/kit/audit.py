"""The trail of what staff did: one line for every writing request, kept with its effect.

The route class writes it, in the transaction of the request itself: no effect without its line,
no line without its effect. Only ids and the name of the action are kept, never a body.
"""

from collections.abc import Sequence

from fastapi import Request
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from . import context, crash
from .auth import Caller
from .db import Document, KitBase, Now
from .ids import new_id
from .seals.blocks import Trail, sealed


class StaffAction(KitBase):
    """Who of the staff did what to which thing, when, and in which request."""

    __tablename__ = "staff_action"
    id: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[Now]
    actor: Mapped[str]
    dept: Mapped[str | None]
    action: Mapped[str]
    """The operation's name in the API reference."""
    things: Mapped[Document]
    """The parameters of its path: ids and codes; `via`: who acted for the member of staff, the
    last one first; `for`: the applicant in whose name staff did it."""
    request_id: Mapped[str | None]
    trace_id: Mapped[str | None]
    __table_args__ = ({"info": sealed(Trail("staff_action", prefix="act", time="at"))},)


def note(session: AsyncSession, request: Request, action: str) -> None:
    """Add the line for this request, if it is one of a member of the staff."""
    caller: Caller | None = request.scope.get("state", {}).get("caller")
    if caller is None or crash.planted("no_trail"):
        return
    if "staff" not in (caller.kind, caller.agent_kind):
        return
    helping = caller.kind != "staff"
    trace = context.traceparent.get()
    session.add(
        StaffAction(
            id=new_id("act"),
            actor=(caller.agent or caller.subject) if helping else caller.subject,
            dept=caller.agent_dept if helping else caller.dept,
            action=action,
            things={
                **request.path_params,
                **({"for": caller.subject} if helping else {}),
                **({"via": [*caller.actors]} if caller.actors and not helping else {}),
            },
            request_id=context.request_id.get(),
            trace_id=trace[3:35] if trace else None,
        )
    )


async def page(
    session: AsyncSession, *, after: str | None = None, limit: int = 50
) -> Sequence[StaffAction]:
    """Lines of the trail, newest first; `after` is the id of the last one already seen."""
    query = select(StaffAction).order_by(StaffAction.id.desc()).limit(limit)
    if after is not None:
        query = query.where(StaffAction.id < after)
    return (await session.scalars(query)).all()
