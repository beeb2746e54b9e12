"""What logistics-svc does by itself: placing orders and asking after silent parcels."""

import logging
from datetime import timedelta

from kit.crash import planted, point
from kit.ids import new_id
from kit.jobs import Jobs
from kit.runtime import Runtime

from . import addresses, shipments
from .carriers import Carrier, Contact, Parcel, Refused, Unknown
from .models import ON_THE_WAY, Address, Shipment
from .settings import Settings

log = logging.getLogger(__name__)
jobs = Jobs()
LEASE_SECONDS = 30.0
BATCH = 20


def _settings(runtime: Runtime) -> Settings:
    assert isinstance(runtime.settings, Settings)
    return runtime.settings


def poll_pause(settings: Settings) -> timedelta:
    return timedelta(minutes=settings.poll_minutes)


def _sender(settings: Settings) -> Contact:
    return Contact(
        name=settings.sender_name,
        mobile=settings.sender_mobile,
        province=settings.sender_province,
        city=settings.sender_city,
        county=settings.sender_county,
        address=settings.sender_address,
        company=settings.sender_name,
    )


@jobs.every(seconds=2)
async def place_due(runtime: Runtime) -> None:
    """Place each due shipment with its carrier. The order number is the shipment's id, so that
    placing it again after a crash or a time-out meets the first order."""
    settings = _settings(runtime)
    async with runtime.sessions.begin() as session:
        due = await shipments.take_due(session, ["draft"], limit=BATCH, lease=LEASE_SECONDS)
        work = []
        for shipment in due:
            address = await session.get(Address, shipment.address_id)
            assert address is not None
            work.append((shipment.id, addresses.contact(runtime.vault, address)))
    for shipment_id, receiver in work:
        parcel = Parcel(
            order_no=new_id("ship") if planted("new_order_no_per_try") else shipment_id,
            sender=_sender(settings),
            receiver=receiver,
            contents="电子证照纸质件",
        )
        await _place(runtime, settings, shipment_id, parcel)


async def _place(runtime: Runtime, settings: Settings, shipment_id: str, parcel: Parcel) -> None:
    carrier: Carrier = runtime.parts["carrier"]
    point("ship_before_place")
    try:
        answer = await carrier.place(parcel)
    except Unknown as exc:
        log.warning("carrier's answer is unknown: %s", type(exc).__name__)
        async with runtime.sessions.begin() as session:
            shipment = await session.get(Shipment, shipment_id, with_for_update=True)
            if shipment is not None and shipment.state == "draft":
                shipments.put_off(shipment, settings.place_retry_seconds, "carrier_unknown")
        return
    except Refused as refusal:
        async with runtime.sessions.begin() as session:
            await shipments.refused(session, shipment_id, refusal.code)
        return
    point("ship_after_place")
    async with runtime.sessions.begin() as session:
        await shipments.placed(session, shipment_id, answer, poll=poll_pause(settings))
    point("ship_after_commit")


@jobs.every(seconds=30)
async def ask_after(runtime: Runtime) -> None:
    """Ask the carrier about parcels that were silent for too long: a push may be lost."""
    settings = _settings(runtime)
    carrier: Carrier = runtime.parts["carrier"]
    async with runtime.sessions.begin() as session:
        due = await shipments.take_due(
            session, ON_THE_WAY, limit=10, lease=settings.poll_minutes * 60
        )
        waybills = [shipment.waybill_no for shipment in due if shipment.waybill_no]
    if not waybills:
        return
    try:
        tracks = await carrier.tracks(waybills)
    except (Unknown, Refused) as exc:
        log.warning("carrier could not tell of parcels: %s", type(exc).__name__)
        return
    async with runtime.sessions.begin() as session:
        await shipments.follow(session, carrier.name, tracks, poll=poll_pause(settings))
