"""What exchange-svc does by itself."""

from kit.jobs import Jobs
from kit.runtime import Runtime

from . import partners

jobs = Jobs()


@jobs.every(seconds=3)
async def connect_partners(runtime: Runtime) -> None:
    """Give each partner that is not suspended its durable at the broker."""
    if not runtime.bus.connected:
        return
    broker = runtime.bus.broker
    async with runtime.sessions.begin() as session:
        for partner in await partners.all_partners(session):
            if partner.state != "suspended":
                await partners.connect(session, broker, partner)
