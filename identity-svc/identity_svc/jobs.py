"""What identity-svc does by itself: replacing signing keys, forgetting what is over."""

import logging
from datetime import timedelta

from sqlalchemy import delete, select

from kit.clock import now
from kit.errors import Unavailable
from kit.jobs import Jobs
from kit.runtime import Runtime

from . import attempts, back_channel, closings, exports, keys, mandates, profiles
from .models import (
    AuthorizationCode,
    DeviceRequest,
    PhoneCode,
    PushedRequest,
    RefreshFamily,
    RefreshToken,
    RevokedToken,
    SeenOnce,
)
from .models_upstream import UpstreamSignIn
from .outside import Outside
from .settings import Settings
from .sign_in import new_phone

log = logging.getLogger(__name__)
jobs = Jobs()
KEPT_AS_EVIDENCE = timedelta(days=1)


@jobs.every(seconds=3600)
async def replace_signing_key(runtime: Runtime) -> None:
    """Let the next key sign when the current one is old enough."""
    settings = runtime.settings
    assert isinstance(settings, Settings)
    async with runtime.sessions.begin() as session:
        await keys.rotate(session, runtime.vault, older_than=timedelta(days=settings.key_days))


@jobs.every(seconds=5)
async def deliver_logouts(runtime: Runtime) -> None:
    """Tell clients that sign-ins are over."""
    while await back_channel.deliver(runtime) == back_channel.AT_ONCE:
        pass


@jobs.every(seconds=60)
async def expire_mandates(runtime: Runtime) -> None:
    """Close mandates whose time is over. Nobody waits for it: every use looks at the time."""
    more = True
    while more:
        async with runtime.sessions.begin() as session:
            more = await mandates.expire(session) > 0


@jobs.every(seconds=600)
async def forget(runtime: Runtime) -> None:
    """Delete codes, links and counters that can decide nothing any more."""
    at = now()
    dead = RefreshToken.family_id.in_(
        select(RefreshFamily.id).where(RefreshFamily.expires_at < at - KEPT_AS_EVIDENCE)
    )
    async with runtime.sessions.begin() as session:
        await attempts.sweep(session, before=at - timedelta(days=1))
        await session.execute(
            delete(AuthorizationCode).where(AuthorizationCode.expires_at < at - KEPT_AS_EVIDENCE)
        )
        for brief in (RevokedToken, SeenOnce, PhoneCode, UpstreamSignIn):
            await session.execute(delete(brief).where(brief.expires_at < at))
        await session.execute(
            delete(PushedRequest).where(PushedRequest.expires_at < at - KEPT_AS_EVIDENCE)
        )
        await session.execute(
            delete(DeviceRequest).where(DeviceRequest.expires_at < at - KEPT_AS_EVIDENCE)
        )
        await back_channel.forget(session)
        await session.execute(delete(RefreshToken).where(dead))


@jobs.every(seconds=300)
async def look_at_facts_again(runtime: Runtime) -> None:
    """Expire what is over in the profiles, and follow people's ages."""
    while True:
        async with runtime.sessions.begin() as session:
            count = await profiles.look_again(session, runtime.vault)
        if not count:
            break


@jobs.every(seconds=60)
async def tell_former_phones(runtime: Runtime) -> None:
    """Tell numbers that open their account no longer, where that failed at once."""
    outside: Outside = runtime.parts["outside"]
    await new_phone.tell_former(runtime.sessions, runtime.vault, outside.messages)


@jobs.every(seconds=600)
async def close_accounts(runtime: Runtime) -> None:
    """Close the accounts whose days are over; while a service cannot tell what is open, later."""
    async with runtime.sessions() as session:
        waiting = await closings.due(session)
    for closing_id, account_id in waiting:
        try:
            elsewhere = await closings.open_elsewhere(runtime.calls, account_id)
        except Unavailable as away:
            log.warning("a closing waits", extra={"fields": {"for": away.extra.get("service")}})
            return
        async with runtime.sessions.begin() as session:
            await closings.finish(session, runtime.vault, closing_id, elsewhere=elsewhere)


@jobs.every(seconds=15)
async def gather_exports(runtime: Runtime) -> None:
    """Bring together what people asked a copy of, and delete the copies whose days are over."""
    more = True
    while more:
        async with runtime.sessions.begin() as session:
            row = await exports.take(session)
        if row is not None:
            await exports.gather(runtime, row)
        more = row is not None
    async with runtime.sessions.begin() as session:
        await exports.expire(session)
