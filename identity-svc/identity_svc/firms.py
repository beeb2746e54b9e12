"""Firms (法人): who registers one, who represents it, and whom it appoints.

The register of enterprises decides who the legal representative is; whoever it names takes the
firm over, and who was it before acts for it no more. Nobody signs in as a firm: persons do, and
then act for it.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.identity import FirmClaimed
from kit.auth import Caller
from kit.clock import now
from kit.db import Sessions
from kit.errors import Conflict, Forbidden, NotFound, Problem, StepUpNeeded, Unavailable
from kit.ids import new_id
from kit.outbox import emit
from kit.secrets import Vault, mask_name, mask_phone
from kit.states import move

from . import accounts, acting
from .models import Account
from .models_agency import APPOINTMENT_TRANSITIONS, Appointment
from .providers import Firms

REPRESENTATIVE = "legal_representative"
MANAGERS = (REPRESENTATIVE, "administrator")
"""Who may appoint agents and give mandates for the firm."""

LEVEL = "L2"


class NotRepresentative(Problem):
    status, code = 422, "not_representative"
    title = ("登记信息不符", "The register says otherwise")


def person_behind(caller: Caller) -> str:
    """The person who is at the mouse, in whose ever name."""
    return caller.agent or caller.subject


async def claim(
    sessions: Sessions,
    vault: Vault,
    register: Firms | None,
    *,
    person_id: str,
    uscc: str,
    name: str,
) -> tuple[str, str]:
    """Register a firm, or take it over, as its legal representative; doing it again changes
    nothing. Its account's id and name.

    Raises StepUpNeeded below L2, NotRepresentative (422), Unavailable while the register does not
    answer, Forbidden for a suspended firm.
    """
    async with sessions() as session:
        person = await session.get(Account, person_id)
        if person is None or person.kind != "person" or person.level < LEVEL:
            raise StepUpNeeded(
                "登记企业需要 L2 级实名。请完成实名认证后重试。",
                "Registering a firm needs level L2. Prove your name first.",
                headers={
                    "www-authenticate": 'Bearer error="insufficient_user_authentication", '
                    f'acr_values="{LEVEL}"'
                },
            )
        _, id_number = accounts.name_and_number(vault, person)
    if register is None or id_number is None:
        raise _unavailable()
    verdict = await register.verify(uscc, name, id_number)
    if verdict.result == "unavailable":
        raise _unavailable()
    if verdict.result != "match":
        raise NotRepresentative(
            "登记机关没有找到该代码与名称相符的企业。请对照营业执照检查;信息刚变更的请稍后再试。",
            "The register has no firm with this code and name. Compare them with the licence.",
        )
    if not verdict.legal_representative:
        raise NotRepresentative(
            "登记机关显示您不是该企业的法定代表人。请由法定代表人登记,再任命您为经办人。",
            "The register does not name you as the legal representative. Let that person register "
            "the firm and appoint you as its agent.",
        )
    async with sessions.begin() as session:
        firm = await _firm(session, vault, uscc, name)
        await _represent(session, firm, person_id)
        return firm.id, name


async def _firm(session: AsyncSession, vault: Vault, uscc: str, name: str) -> Account:
    """The firm's account, locked; made when there is none."""
    mine = select(Account).where(
        Account.kind == "enterprise",
        Account.id_index == vault.index(f"id|{uscc}"),
        Account.level > "L1",
    )
    firm: Account | None = await session.scalar(mine.with_for_update())
    if firm is None:
        await accounts.register(
            session,
            vault,
            name=name,
            password_hash=None,
            kind="enterprise",
            id_number=uscc,
            level=LEVEL,
        )
        firm = (await session.scalars(mine.with_for_update())).one()
    if firm.state != "active":
        raise Forbidden("该企业账户已停用。请联系窗口。", "The firm's account is suspended.")
    accounts.rename(vault, firm, name)
    return firm


async def _represent(session: AsyncSession, firm: Account, person_id: str) -> None:
    """Make the person the representative of the (locked) firm; nothing when he is already."""
    active = await session.scalars(
        select(Appointment).where(Appointment.firm_id == firm.id, Appointment.state == "active")
    )
    previous = None
    for known in active.all():
        if known.role == REPRESENTATIVE and known.person_id == person_id:
            return
        if known.role == REPRESENTATIVE:
            previous = known.person_id
            await _end(session, known, "replace")
        elif known.person_id == person_id:
            await _end(session, known, "replace")
    await session.flush()
    session.add(
        Appointment(
            id=new_id("apt"),
            firm_id=firm.id,
            person_id=person_id,
            role=REPRESENTATIVE,
            state="active",
            version=1,
        )
    )
    firm.version += 1
    claimed = FirmClaimed(firm_id=firm.id, representative_id=person_id, previous_id=previous)
    emit(session, claimed, subject=firm.id, version=firm.version)


async def _end(session: AsyncSession, appointment: Appointment, action: str) -> None:
    facts = {
        "appointment_id": appointment.id,
        "firm_id": appointment.firm_id,
        "person_id": appointment.person_id,
    }
    appointment.ended_at = now()
    move(session, appointment, APPOINTMENT_TRANSITIONS, action, **facts)
    if appointment.person_id is not None:
        await acting.end(session, firm_id=appointment.firm_id, person_id=appointment.person_id)


async def managed(session: AsyncSession, firm_id: str, caller: Caller) -> None:
    """Raises NotFound unless the person behind the caller manages this firm."""
    manager = select(Appointment.id).where(
        Appointment.firm_id == firm_id,
        Appointment.person_id == person_behind(caller),
        Appointment.state == "active",
        Appointment.role.in_(MANAGERS),
    )
    other_firm = caller.kind == "enterprise" and caller.subject != firm_id
    if other_firm or await session.scalar(manager) is None:
        raise NotFound("没有找到这家企业。", "There is no such firm for you.")


async def appoint(
    session: AsyncSession,
    vault: Vault,
    caller: Caller,
    *,
    firm_id: str,
    name: str,
    phone: str,
    role: str,
) -> Appointment:
    """Ask a person, by name and telephone, to act for the firm. The answer does not tell whether
    such a person has an account."""
    await managed(session, firm_id, caller)
    appointment = Appointment(
        id=new_id("apt"),
        firm_id=firm_id,
        person_index=person_index(vault, name, phone),
        role=role,
        state="invited",
        version=1,
        appointed_by=person_behind(caller),
    )
    appointment.label = sealed_label(vault, "appointment", appointment.id, name, phone)
    session.add(appointment)
    await session.flush()
    await session.refresh(appointment)
    return appointment


async def answer(
    session: AsyncSession, vault: Vault, caller: Caller, appointment_id: str, action: str
) -> Appointment:
    """The person who was asked confirms or refuses. Raises NotFound for everybody else."""
    mine = await asked_of(session, vault, caller.subject)
    appointment: Appointment | None = await session.scalar(
        select(Appointment)
        .where(Appointment.id == appointment_id, Appointment.person_index == mine)
        .with_for_update()
    )
    if appointment is None:
        raise _no_appointment()
    if action == "confirm":
        already = select(Appointment.id).where(
            Appointment.firm_id == appointment.firm_id,
            Appointment.person_id == caller.subject,
            Appointment.state == "active",
        )
        await session.get(Account, appointment.firm_id, with_for_update=True)
        if appointment.state == "invited" and await session.scalar(already) is not None:
            raise Conflict("您已是该企业的经办人。", "You act for this firm already.")
    appointment.person_id = caller.subject
    move(
        session,
        appointment,
        APPOINTMENT_TRANSITIONS,
        action,
        appointment_id=appointment.id,
        firm_id=appointment.firm_id,
        person_id=caller.subject,
        role=appointment.role,
    )
    return appointment


async def remove(session: AsyncSession, caller: Caller, appointment_id: str) -> Appointment:
    """A manager takes an appointment back, or the agent lays it down; his tokens for the firm
    end. The legal representative stays until the register names another."""
    appointment = await session.get(Appointment, appointment_id, with_for_update=True)
    if appointment is None:
        raise _no_appointment()
    if appointment.person_id != person_behind(caller) or appointment.state != "active":
        try:
            await managed(session, appointment.firm_id, caller)
        except NotFound:
            raise _no_appointment() from None
    if appointment.role == REPRESENTATIVE:
        raise Conflict(
            "法定代表人以登记机关的登记为准,变更登记后由新法定代表人认领。",
            "The register says who represents the firm; a new representative claims it.",
        )
    await _end(session, appointment, "remove")
    return appointment


async def appointments(
    session: AsyncSession, firm_id: str, *, after: str | None, limit: int
) -> Sequence[Appointment]:
    """Those of a firm, the latest first; one more than `limit` when there is more."""
    query = select(Appointment).where(Appointment.firm_id == firm_id)
    if after is not None:
        query = query.where(Appointment.id < after)
    return (await session.scalars(query.order_by(Appointment.id.desc()).limit(limit + 1))).all()


async def of_person(
    session: AsyncSession, vault: Vault, person_id: str
) -> list[tuple[Appointment, Account]]:
    """The firms that the person acts for, or is asked to."""
    mine: ColumnElement[bool] = and_(
        Appointment.person_id == person_id, Appointment.state == "active"
    )
    index = await asked_of(session, vault, person_id)
    if index is not None:
        asked = and_(Appointment.person_index == index, Appointment.state == "invited")
        mine = or_(mine, asked)
    query = (
        select(Appointment, Account)
        .join(Account, Account.id == Appointment.firm_id)
        .where(mine, Account.state == "active")
        .order_by(Appointment.id)
        .limit(200)
    )
    return [(appointment, firm) for appointment, firm in await session.execute(query)]


async def represented(session: AsyncSession, person_id: str) -> list[str]:
    """The firms of which this person is the legal representative."""
    query = select(Appointment.firm_id).where(
        Appointment.person_id == person_id,
        Appointment.state == "active",
        Appointment.role == REPRESENTATIVE,
    )
    return list(await session.scalars(query.order_by(Appointment.firm_id)))


async def end_all(session: AsyncSession, account_id: str) -> None:
    """An account is closed: a firm's agents act for it no more, a person acts for no firm."""
    party = or_(Appointment.firm_id == account_id, Appointment.person_id == account_id)
    query = select(Appointment).where(party).order_by(Appointment.id).with_for_update()
    for appointment in (await session.scalars(query)).all():
        if appointment.state in ("invited", "active"):
            await _end(session, appointment, "remove")
        appointment.label = appointment.person_index = None


def person_index(vault: Vault, name: str, phone: str) -> str:
    """Stands for a person of this name with this telephone."""
    return vault.index(f"person|{phone}|{name}")


async def asked_of(session: AsyncSession, vault: Vault, account_id: str) -> str | None:
    """What stands for this account where somebody is named by name and telephone; None for one
    whose name and telephone nobody proved."""
    account = await session.get(Account, account_id)
    if account is None or account.level < LEVEL:
        return None
    name, phone = accounts.name_and_phone(vault, account)
    return person_index(vault, name, phone) if phone else None


def sealed_label(vault: Vault, table: str, row_id: str, name: str, phone: str | None) -> bytes:
    """Who was named, masked, to be shown to those who named him."""
    text = f"{mask_name(name)} {mask_phone(phone)}" if phone else name
    return vault.seal(text, bound_to=f"{table}|label|{row_id}")


def label(vault: Vault, row: Any) -> str | None:
    if row.label is None:
        return None
    return vault.open(row.label, bound_to=f"{row.__tablename__}|label|{row.id}")


def _no_appointment() -> NotFound:
    return NotFound("没有找到这项任命。", "There is no such appointment for you.")


def _unavailable() -> Unavailable:
    return Unavailable(
        "企业登记核验暂时无法进行,请稍后再试。",
        "The register of enterprises cannot be asked at the moment. Try again later.",
        retry_after=30,
    )
