"""What identity-svc itself holds of an account, for its owner's export: in clear, without secrets
(no password, key, token or code)."""

from collections.abc import Sequence

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from kit.holdings import PAGE, Asked, Part, Record, picked

from . import access_logs, accounts, consents, corrections, profiles
from .models import AccessLog, Account, LoginSession
from .models_agency import Appointment, Mandate
from .models_closing import AccountClosing
from .models_corrections import FactCorrection
from .sign_in import ways


async def _account(session: AsyncSession, asked: Asked) -> Sequence[Record]:
    account = await session.get(Account, asked.account_id)
    if account is None or asked.after:
        return []
    name, number = accounts.name_and_number(asked.vault, account)
    plain = {"name": name, "id_number": number, "phone": accounts.phone_of(asked.vault, account)}
    return [{**picked(account, "id", "kind", "state", "level", "created_at"), **plain}]


async def _facts(session: AsyncSession, asked: Asked) -> Sequence[Record]:
    facts, _ = await profiles.own(session, asked.vault, asked.account_id)
    left = sorted((fact for fact in facts if fact["id"] > asked.after), key=lambda f: str(f["id"]))
    return left[:PAGE]


async def _tags(session: AsyncSession, asked: Asked) -> Sequence[Record]:
    held = [{"id": tag["code"], **tag} for tag in await profiles.tags(session, asked.account_id)]
    return [tag for tag in held if tag["id"] > asked.after][:PAGE]


async def _consents(session: AsyncSession, asked: Asked) -> Sequence[Record]:
    given: dict[str, Record] = {
        client.client_id: {
            "id": client.client_id,
            "name": client.name,
            "scopes": row.scopes,
            "given_at": row.given_at,
        }
        for row, client in await consents.of_account(session, asked.account_id)
    }
    return [given[one] for one in sorted(given) if one > asked.after][:PAGE]


async def _mandates(session: AsyncSession, asked: Asked) -> Sequence[Record]:
    columns = (
        "id", "principal_id", "agent_id", "asked_by", "state", "item_codes", "valid_from",
        "valid_until", "max_uses", "uses", "created_at", "answered_at", "ended_at",
    )  # fmt: skip
    party = or_(Mandate.principal_id == asked.account_id, Mandate.agent_id == asked.account_id)
    query = select(Mandate).where(party, Mandate.id > asked.after)
    rows = await session.scalars(query.order_by(Mandate.id).limit(PAGE))
    return [picked(row, *columns) for row in rows]


async def _appointments(session: AsyncSession, asked: Asked) -> Sequence[Record]:
    columns = ("id", "firm_id", "person_id", "role", "state", "created_at", "ended_at")
    party = or_(Appointment.firm_id == asked.account_id, Appointment.person_id == asked.account_id)
    query = select(Appointment).where(party, Appointment.id > asked.after)
    rows = await session.scalars(query.order_by(Appointment.id).limit(PAGE))
    return [picked(row, *columns) for row in rows]


async def _reads(session: AsyncSession, asked: Asked) -> Sequence[Record]:
    rows = await asked.rows(session, AccessLog, AccessLog.account_id)
    return [access_logs.shown(row) for row in rows]


async def _sign_ins(session: AsyncSession, asked: Asked) -> Sequence[Record]:
    rows = await asked.rows(session, LoginSession, LoginSession.account_id)
    return [picked(row, "id", "acr", "amr", "auth_time", "expires_at", "ended_at") for row in rows]


async def _ways(session: AsyncSession, asked: Asked) -> Sequence[Record]:
    if asked.after:
        return []
    found = await ways.of_account(session, asked.vault, asked.account_id)
    return [{**way, "id": way["id"] or way["way"]} for way in found]


async def _closings(session: AsyncSession, asked: Asked) -> Sequence[Record]:
    rows = await asked.rows(session, AccountClosing, AccountClosing.account_id)
    return [picked(row, "id", "state", "asked_at", "closes_at", "ended_at") for row in rows]


async def _corrections(session: AsyncSession, asked: Asked) -> Sequence[Record]:
    rows = await asked.rows(session, FactCorrection, FactCorrection.account_id)
    return [await corrections.detail(session, asked.vault, row) for row in rows]


PARTS = (
    Part("account", "账户", "Account", _account),
    Part("profile_facts", "档案信息", "Facts of the profile", _facts),
    Part("corrections", "更正申请", "Corrections asked for", _corrections),
    Part("profile_tags", "标签", "Tags", _tags),
    Part("consents", "对外授权", "Consents", _consents),
    Part("mandates", "委托", "Mandates", _mandates),
    Part("appointments", "企业任命", "Appointments at firms", _appointments),
    Part("access_log", "查阅记录", "Who read my data", _reads),
    Part("sign_ins", "登录记录", "Sign-ins", _sign_ins),
    Part("sign_in_ways", "登录方式", "Ways to sign in", _ways),
    Part("closings", "注销申请", "Requests to close the account", _closings),
)
