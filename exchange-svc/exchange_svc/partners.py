"""Departments' systems: the ledger, and one durable consumer each at the broker.

A department pulls from its own durable with its own account; what is not stamped with its code
never enters it. The durable is created again whenever it is missing (a broker that lost its
store), and then replays: departments tell repeats by the event's id.
"""

import logging
from collections.abc import Iterable, Sequence

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from kit.broker import STREAM, Broker, Refused
from kit.broker_config import department_durable, department_of
from kit.errors import Conflict
from kit.ids import derived_id
from kit.states import move

from .models import PARTNER_TRANSITIONS, Partner

log = logging.getLogger(__name__)
CONSUMER_NOT_FOUND = 10014


async def register(session: AsyncSession, *, code: str, name: str) -> Partner:
    """A new entry of the ledger. Raises Conflict when the code is taken."""
    row = insert(Partner).values(
        id=derived_id("partner", code),
        state="registered",
        version=1,
        code=code,
        dept=department_of(code),
        name=name,
        durable=department_durable(code),
    )
    made: Partner | None = await session.scalar(row.on_conflict_do_nothing().returning(Partner))
    if made is None:
        raise Conflict(
            "该系统已登记。同一部门的另一系统请用“部门-名称”登记。",
            "This system is registered already; register another as DEPT-name.",
        )
    return made


async def register_configured(session: AsyncSession, codes: Iterable[str]) -> None:
    """Entries for systems that have an account at the broker from the start."""
    for code in codes:
        known = await session.scalar(select(Partner.id).filter_by(code=code))
        if known is None:
            await register(session, code=code, name=code)


async def all_partners(session: AsyncSession) -> Sequence[Partner]:
    return (await session.scalars(select(Partner).order_by(Partner.code))).all()


async def connect(session: AsyncSession, broker: Broker, partner: Partner) -> None:
    """Make sure that the partner's durable is there; the first time it is, the system counts as
    connected. Raises what `Broker.api` raises."""
    try:
        await broker.api(f"CONSUMER.INFO.{STREAM}.{partner.durable}")
    except Refused as refusal:
        if refusal.err_code != CONSUMER_NOT_FOUND:
            raise
        await broker.stream()
        subjects = f"evt.*.*.*.*.{partner.dept}"
        config = {
            "durable_name": partner.durable,
            "name": partner.durable,
            "description": f"events of department {partner.dept}",
            "filter_subject": subjects,
            "ack_policy": "explicit",
            "ack_wait": 60 * 10**9,
            "deliver_policy": "all",
            "max_ack_pending": 1000,
            "max_deliver": -1,
        }
        body = {"stream_name": STREAM, "config": config, "action": "create"}
        await broker.api(f"CONSUMER.CREATE.{STREAM}.{partner.durable}.{subjects}", body)
        log.warning("created the durable %s", partner.durable)
    if partner.state == "registered":
        move(
            session,
            partner,
            PARTNER_TRANSITIONS,
            "connect",
            partner_id=partner.id,
            system_dept=partner.dept,
        )
