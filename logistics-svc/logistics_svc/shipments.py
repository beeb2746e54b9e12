"""Shipments: born from an issued licence, placed with the carrier, moved by what it tells."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, false, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.logistics import ShipmentPickedUp
from contracts.reads import ShipmentDataRead
from kit import crash, reads
from kit.auth import Caller
from kit.clock import now
from kit.errors import NotFound
from kit.ids import derived_id, new_id
from kit.jobs import wake
from kit.outbox import emit
from kit.rights import reach
from kit.states import move

from .carriers import Placed, Track
from .models import ON_THE_WAY, SHIPMENT_TRANSITIONS, Address, Shipment, TrackEvent

LONGEST_PAUSE = 60.0
RANK = {
    status: rank
    for rank, status in enumerate((*ON_THE_WAY, "delivered", "returned", "lost", "cancelled"))
}
"""Which of two steps in the same second is further on the way."""


async def plan(
    session: AsyncSession,
    *,
    licence_id: str,
    case_id: str,
    receiver_id: str,
    address_id: str | None,
    region: str,
    dept: str,
    item_code: str | None = None,
) -> None:
    """A shipment for a licence, once. Without a usable address it waits for a person to act."""
    address = await session.get(Address, address_id) if address_id else None
    fits = address is not None and address.account_id == receiver_id
    twice = crash.planted("shipment_per_delivery")
    row = insert(Shipment).values(
        id=new_id("ship") if twice else derived_id("ship", licence_id),
        state="draft" if fits else "failed",
        version=1,
        region=region,
        dept=dept,
        item_code=item_code,
        case_id=case_id,
        licence_id=licence_id,
        receiver_id=receiver_id,
        address_id=address_id or "",
        carrier="sf",
        trouble=None if fits else "no_address",
        tries=0,
        due_at=now(),
    )
    await session.execute(row.on_conflict_do_nothing(index_elements=["id"]))
    wake(session, "place_due")


async def take_due(
    session: AsyncSession, states: Sequence[str], *, limit: int, lease: float
) -> Sequence[Shipment]:
    """Due shipments in these states. Each is leased: due again only after `lease` seconds, so
    that nobody else works on it meanwhile, and that a killed worker's share comes back."""
    query = (
        select(Shipment)
        .where(Shipment.state.in_(states), Shipment.due_at <= now())
        .order_by(Shipment.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = (await session.scalars(query)).all()
    for shipment in rows:
        shipment.due_at = now() + timedelta(seconds=lease)
    return rows


def put_off(shipment: Shipment, first_pause: float, trouble: str) -> None:
    """The carrier's answer is unknown: the same order is placed again after a pause."""
    pause = min(first_pause * 2**shipment.tries, LONGEST_PAUSE)
    shipment.tries += 1
    shipment.trouble = trouble
    shipment.due_at = now() + timedelta(seconds=pause)


def _told(shipment: Shipment, happened_at: datetime) -> dict[str, Any]:
    return {
        "shipment_id": shipment.id,
        "case_id": shipment.case_id,
        "receiver_id": shipment.receiver_id,
        "carrier": shipment.carrier,
        "happened_at": happened_at,
    }


async def placed(
    session: AsyncSession, shipment_id: str, answer: Placed, *, poll: timedelta
) -> None:
    """The carrier has the order. A second answer changes nothing."""
    shipment = await session.get(Shipment, shipment_id, with_for_update=True)
    if shipment is None or shipment.state != "draft":
        return
    shipment.waybill_no, shipment.trouble = answer.waybill_no, None
    shipment.due_at = now() + poll
    move(session, shipment, SHIPMENT_TRANSITIONS, "place", **_told(shipment, now()))


async def refused(session: AsyncSession, shipment_id: str, code: str) -> None:
    """The carrier will not take it: a person must act."""
    shipment = await session.get(Shipment, shipment_id, with_for_update=True)
    if shipment is not None and shipment.state == "draft":
        shipment.trouble = f"carrier_refused_{code}"
        move(session, shipment, SHIPMENT_TRANSITIONS, "fail")


async def follow(
    session: AsyncSession, carrier: str, tracks: Iterable[Track], *, poll: timedelta
) -> int:
    """Keep what the carrier tells and let the last step move the shipment.

    Repetitions and late steps change nothing: the state is that of the latest step by the
    carrier's own time, and a final state stays. Returns how many steps were not ours.
    """
    by_order: dict[str, list[Track]] = {}
    for track in tracks:
        by_order.setdefault(track.order_no, []).append(track)
    strangers = 0
    for order_no, steps in sorted(by_order.items()):
        shipment = await session.get(Shipment, order_no, with_for_update=True)
        if shipment is None or shipment.carrier != carrier:
            strangers += len(steps)
            continue
        shipment.due_at = now() + poll
        new = await _keep(session, shipment, steps)
        await _settle(session, shipment, new)
    return strangers


async def _keep(session: AsyncSession, shipment: Shipment, steps: Sequence[Track]) -> set[str]:
    """Keep what was not told before; returns the keys of that."""
    rows = [
        {
            "shipment_id": shipment.id,
            "key": step.key,
            "status": step.status.value,
            "code": step.code,
            "happened_at": step.happened_at,
            "place": step.place,
            "recognised": step.recognised,
        }
        for step in {step.key: step for step in steps}.values()
    ]
    kept = insert(TrackEvent).values(rows).on_conflict_do_nothing().returning(TrackEvent.key)
    new = set(await session.scalars(kept))
    if shipment.state == "draft":
        # A push may overtake the answer to our own order.
        shipment.waybill_no = steps[0].waybill_no
        move(session, shipment, SHIPMENT_TRANSITIONS, "place", **_told(shipment, now()))
    return new


async def tracks_of(session: AsyncSession, shipment_id: str) -> Sequence[TrackEvent]:
    query = select(TrackEvent).filter_by(shipment_id=shipment_id)
    return (await session.scalars(query.order_by(TrackEvent.happened_at, TrackEvent.key))).all()


async def _settle(session: AsyncSession, shipment: Shipment, new: set[str]) -> None:
    """Walk the steps by the carrier's time, so that no event on the way is left out."""
    tracks = sorted(
        await tracks_of(session, shipment.id),
        key=lambda track: (track.happened_at, RANK[track.status]),
    )
    told_picked_up = any(t.status == "picked_up" and t.key not in new for t in tracks)
    for track in tracks:
        if (shipment.state, track.status) in SHIPMENT_TRANSITIONS and _is_news(shipment, track):
            told = _told(shipment, track.happened_at)
            move(session, shipment, SHIPMENT_TRANSITIONS, track.status, **told)
            shipment.moved_to = track.happened_at
            told_picked_up = told_picked_up or track.status == "picked_up"
        elif track.status == "picked_up" and not told_picked_up:
            # A later step overtook it: the state stays, but who waits for the fact is told.
            told_picked_up = True
            shipment.version += 1
            emit(
                session,
                ShipmentPickedUp(**_told(shipment, track.happened_at)),
                subject=shipment.id,
                version=shipment.version,
                region=shipment.region,
                dept=shipment.dept,
            )


def _is_news(shipment: Shipment, track: TrackEvent) -> bool:
    """Later by the carrier's time, which counts whole seconds; within one, further on the way."""
    if shipment.moved_to is None or track.happened_at > shipment.moved_to:
        return True
    same_second = track.happened_at == shipment.moved_to
    return same_second and RANK[track.status] > RANK[shipment.state]


def visible(caller: Caller) -> ColumnElement[bool]:
    if caller.kind in ("person", "enterprise"):
        return Shipment.receiver_id == caller.subject
    if caller.kind == "staff":
        columns = Shipment
        return reach(caller, dept=columns.dept, region=columns.region, item=columns.item_code)
    return false()


async def one(session: AsyncSession, shipment_id: str, caller: Caller) -> Shipment:
    """Raises NotFound for what the caller may not see."""
    query = select(Shipment).where(Shipment.id == shipment_id, visible(caller))
    shipment: Shipment | None = await session.scalar(query)
    if shipment is None:
        raise NotFound("没有找到这个快件。", "There is no such shipment for you.")
    read = ShipmentDataRead(
        account_id=shipment.receiver_id,
        kind="shipment",
        object_id=shipment.id,
        **reads.reader(caller),
    )
    await reads.tell(session, caller, read)
    return shipment


async def listed(
    session: AsyncSession, caller: Caller, *, case_id: str | None, after: str | None, limit: int
) -> Sequence[Shipment]:
    query = select(Shipment).where(visible(caller)).order_by(Shipment.id.desc()).limit(limit + 1)
    if case_id:
        query = query.where(Shipment.case_id == case_id)
    if after:
        query = query.where(Shipment.id < after)
    return (await session.scalars(query)).all()
