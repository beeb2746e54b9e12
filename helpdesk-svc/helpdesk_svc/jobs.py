"""What helpdesk-svc does by itself."""

from kit.clock import city_day, now
from kit.jobs import Jobs
from kit.runtime import Runtime

from . import ratings

jobs = Jobs()


@jobs.every(seconds=60)
async def lapse_ratings(runtime: Runtime) -> None:
    """Close invitations to rate whose last day is over."""
    while True:
        async with runtime.sessions.begin() as session:
            if not await ratings.lapse_overdue(session, city_day(now())):
                return
