"""States that move only along declared edges. The table is data: tests and docs read it.

An edge is `(from, action): (to, Event | None)`; it names the event that it emits, or none.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from sqlalchemy import event as sqlalchemy_event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from contracts.event import NO_PLACE, Event

from . import context, crash
from .errors import IllegalMove
from .metrics import CHANGES
from .outbox import emit

Transitions = Mapping[tuple[str, str], tuple[str, type[Event] | None]]
_MOVED = "moved"
"""Key in `session.info`: what to count when it commits."""


class Moves(Protocol):
    """What a row needs in order to move: `region` and `dept` are used when it has them."""

    id: Any
    state: Any
    version: Any


def edge_of(row: Moves, transitions: Transitions, action: str) -> tuple[str, type[Event] | None]:
    """Where the action leads from the row's state. Raises IllegalMove (409) when nowhere: for who
    has to know it before he computes what the move needs."""
    edge = transitions.get((row.state, action))
    if edge is None:
        possible = sorted(a for state, a in transitions if state == row.state)
        raise IllegalMove(
            "当前状态不能进行此操作。请刷新后查看可以进行的下一步。",
            "This is not possible in the current state. Reload to see the next steps.",
            state=row.state,
            possible=possible,
        )
    return edge


def move(
    session: AsyncSession, row: Moves, transitions: Transitions, action: str, **data: Any
) -> None:
    """Take the edge `action` from the row's state: new state, next version, and the edge's event.

    `data` are the fields of the event. Raises IllegalMove (409) when there is no such edge.
    """
    row.state, event = edge_of(row, transitions, action)
    row.version += not crash.planted("version_stands_still")
    thing = getattr(row, "__tablename__", type(row).__name__)
    session.sync_session.info.setdefault(_MOVED, []).append((thing, action))
    if event is not None and not crash.planted("event_forgotten"):
        emit(
            session,
            event(**data),
            subject=row.id,
            version=row.version,
            region=getattr(row, "region", NO_PLACE) or NO_PLACE,
            dept=getattr(row, "dept", NO_PLACE) or NO_PLACE,
        )


@sqlalchemy_event.listens_for(Session, "after_commit")
def _count_moves(session: Session) -> None:
    if not session.in_nested_transaction():
        for thing, action in session.info.pop(_MOVED, ()):
            CHANGES.labels(context.service.get(), thing, action).inc()


@sqlalchemy_event.listens_for(Session, "after_soft_rollback")
def _forget_moves(session: Session, _: object) -> None:
    session.info.pop(_MOVED, None)


def as_table(transitions: Transitions) -> str:
    """The transitions as a Markdown table, for a service's README."""
    rows = [
        f"| {source} | {action} | {target} | {event.TYPE if event else '–'} |"
        for (source, action), (target, event) in transitions.items()
    ]
    return "\n".join(["| from | action | to | event |", "|---|---|---|---|", *rows])
