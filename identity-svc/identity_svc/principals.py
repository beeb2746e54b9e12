"""For whom a person may act: firms that appointed him and mandates that stand."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from kit.auth import Caller
from kit.clock import now
from kit.secrets import Vault

from . import accounts, firms, mandates
from .acting import USABLE
from .models import Account
from .models_agency import Mandate

MOST = 200


async def of(session: AsyncSession, vault: Vault, caller: Caller) -> dict[str, Any]:
    """For the person behind the caller, in whose ever name the token is."""
    person_id = firms.person_behind(caller)
    at_firms = await firms.of_person(session, vault, person_id)
    waiting = []
    if caller.agent is None and (account := await session.get(Account, person_id)) is not None:
        mine = mandates.Me(account, await firms.asked_of(session, vault, person_id))
        asked = await mandates.listed(
            session, mine, side=None, state="requested", after=None, limit=MOST
        )
        shown = await mandates.shown(session, vault, mine, asked)
        waiting = [one for one in shown if one["side"] != one["asked_by"]]
    return {
        "acting_for": (caller.mandate or caller.subject) if caller.agent else None,
        "items": [*_firms(vault, at_firms), *await _mandates(session, vault, person_id)],
        "appointments_waiting": [
            {
                "appointment_id": appointment.id,
                "firm_name": accounts.display_name(vault, firm),
                "role": appointment.role,
            }
            for appointment, firm in at_firms
            if appointment.state == "invited" and caller.agent is None
        ],
        "mandates_waiting": waiting,
    }


def _firms(vault: Vault, rows: list[Any]) -> list[dict[str, Any]]:
    return [
        {
            "act_for": firm.id,
            "kind": "enterprise",
            "name": accounts.display_name(vault, firm),
            "role": appointment.role,
            "item_codes": None,
            "valid_until": None,
        }
        for appointment, firm in rows
        if appointment.state == "active"
    ]


async def _mandates(session: AsyncSession, vault: Vault, person_id: str) -> list[dict[str, Any]]:
    at = now()
    query = (
        select(Mandate, Account)
        .join(Account, Account.id == Mandate.principal_id)
        .where(
            Mandate.agent_id == person_id,
            Mandate.state.in_(USABLE),
            Mandate.valid_from <= at,
            Mandate.valid_until > at,
            Account.state == "active",
        )
        .order_by(Mandate.id)
        .limit(MOST)
    )
    return [
        {
            "act_for": mandate.id,
            "kind": account.kind,
            "name": accounts.display_name(vault, account),
            "role": "mandate",
            "item_codes": mandate.item_codes,
            "valid_until": mandate.valid_until,
        }
        for mandate, account in await session.execute(query)
    ]
