"""Doors of the demonstration's people, who act for themselves, for a firm or under a mandate."""

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from beam.journey.door import Door
from kit.clock import now

from .cast import Cast

PASSWORD = "Beam-demo-2026"
ZHANG, LI = "13800000001", "13800000002"


@contextlib.asynccontextmanager
async def door(cast: Cast, login: str, act_for: str | None = None) -> AsyncIterator[Door]:
    opened = Door(cast.place.gateway, act_for or login)
    await opened.sign_in(login, PASSWORD, act_for=act_for)
    try:
        yield opened
    finally:
        await opened.close()


async def mandate(cast: Cast, giver: Door, agent: dict[str, str], login: str, **more: Any) -> str:
    """The principal grants, the agent agrees; the mandate's id."""
    until_then = (now() + timedelta(hours=8)).isoformat()
    asked = {"side": "principal", "other": agent, "valid_until": until_then, **more}
    made = await giver.post("/v1/mandates", asked, status=201)
    async with door(cast, login) as person:
        await person.post(f"/v1/mandates/{made['id']}/confirm")
    return str(made["id"])
