"""Telling a person that staff read something of theirs (个人信息查阅留痕).

One row in the outbox for each reader, thing and hour: its id is derived from the three, so a
repeated read meets the row that is there and adds nothing, in whatever process it happens. There
is no call and no table of its own; the service that keeps the access logs hears the events.
"""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from contracts.event import Event

from .auth import Caller
from .clock import now
from .ids import derived_uuid
from .outbox import emit_once

TOLD = "read_told"
"""Key in `session.info`: a route that only reads has something to commit."""
_PURPOSES = (
    ("counter", "intake"),
    ("reviewer", "review"),
    ("supervisor", "supervision"),
    ("operator", "operation"),
)


def reader(caller: Caller) -> dict[str, Any]:
    """The fields of the event that say who read, and in which role."""
    purpose = next((what for role, what in _PURPOSES if role in caller.roles), "operation")
    return {
        "reader_id": caller.actor or caller.subject,
        "reader_dept": caller.dept or "_",
        "purpose": purpose,
    }


async def tell(session: AsyncSession, caller: Caller, event: Event) -> None:
    """Tell of this read, once an hour, if the caller is staff; it commits with the answer."""
    if caller.kind != "staff":
        return
    data = event.model_dump()
    hour = now().strftime("%Y%m%d%H")
    parts = (event.TYPE, data["reader_id"], data["kind"], data["object_id"], hour)
    event_id = derived_uuid("read", *parts)
    if await emit_once(session, event, id=event_id, subject=f"read_{event_id.hex}", version=1):
        session.info[TOLD] = True
