"""Accounts: registering, what their owners see of themselves, and who else read it."""

from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.identity import AccountRegistered
from kit import states
from kit.clock import now
from kit.errors import NotFound
from kit.ids import new_id
from kit.outbox import emit
from kit.secrets import Vault, mask_id_number, mask_name, mask_phone

from . import back_channel, families
from .models import ACCOUNT_TRANSITIONS, AccessLog, Account, LoginSession, StaffMember

GONE = "已注销"
"""Instead of the name of who closed the account."""


def _bound(column: str, account_id: str) -> str:
    return f"account|{column}|{account_id}"


async def register(
    session: AsyncSession,
    vault: Vault,
    *,
    name: str,
    password_hash: str | None,
    kind: str = "person",
    id_number: str | None = None,
    phone: str | None = None,
    level: str = "L0",
    account_id: str | None = None,
) -> bool:
    """Make an account; False, and nothing done, when its phone (or id) has one already.

    Nothing of a new account is proven yet: its level is L0 unless somebody vouches for more.
    """
    account_id = account_id or new_id("acc")

    def sealed(column: str, text: str | None) -> bytes | None:
        return vault.seal(text, bound_to=_bound(column, account_id)) if text else None

    made = await session.scalar(
        insert(Account)
        .values(
            id=account_id,
            kind=kind,
            state="active",
            level=level,
            name=sealed("name", name),
            id_number=sealed("id_number", id_number),
            id_index=vault.index(f"id|{id_number}") if id_number else None,
            phone=sealed("phone", phone),
            phone_index=vault.index(f"phone|{phone}") if phone else None,
            password_hash=password_hash,
            version=1,
        )
        .on_conflict_do_nothing()
        .returning(Account.id)
    )
    if made is None:
        return False
    registered = AccountRegistered(account_id=account_id, kind=kind)
    emit(session, registered, subject=account_id, version=1)
    return True


async def free_phone(session: AsyncSession, vault: Vault, phone: str) -> None:
    """Take a number that its owner has just proven away from an account that only claimed it."""
    await session.execute(
        update(Account)
        .where(Account.phone_index == vault.index(f"phone|{phone}"), Account.level == "L0")
        .values(phone=None, phone_index=None, version=Account.version + 1)
    )


def give_phone(vault: Vault, account: Account, phone: str) -> None:
    """A number that was proven is this account's from now on; the one before will be told."""
    if account.phone is not None:
        former = vault.open(account.phone, bound_to=_bound("phone", account.id))
        bound = _bound("former_phone", account.id)
        account.former_phone = vault.seal(former, bound_to=bound) if former != phone else None
    account.phone = vault.seal(phone, bound_to=_bound("phone", account.id))
    account.phone_index = vault.index(f"phone|{phone}")
    account.version += 1


def former_phone_of(vault: Vault, account: Account) -> str:
    """The number that has still to be told."""
    assert account.former_phone is not None
    return vault.open(account.former_phone, bound_to=_bound("former_phone", account.id))


async def change_state(session: AsyncSession, account_id: str, action: str) -> Account:
    """Suspend an account or restore it. A suspended one cannot sign in nor refresh a token."""
    account = await session.get(Account, account_id, with_for_update=True)
    if account is None:
        raise _unknown()
    states.move(session, account, ACCOUNT_TRANSITIONS, action, account_id=account.id)
    if account.state == "suspended":
        families.tell(session, "account", account.id)
        await back_channel.note(session, LoginSession.account_id == account.id)
    return account


def forget_person(vault: Vault, account: Account) -> None:
    """Take everything personal from a (locked) account: nobody signs in any more, and its
    telephone and identity numbers are free for another."""
    account.name = vault.seal(GONE, bound_to=_bound("name", account.id))
    account.id_number = account.id_index = account.phone = account.phone_index = None
    account.former_phone = account.former_phone_until = account.password_hash = None
    account.level = "L0"


async def own_view(session: AsyncSession, vault: Vault, account_id: str) -> dict[str, Any]:
    """An account as its owner sees it, masked."""
    account = await session.get(Account, account_id)
    if account is None:
        raise _unknown()
    member = await session.get(StaffMember, account_id)
    plain = _opened(vault, account)
    return {
        "id": account.id,
        "kind": account.kind,
        "state": account.state,
        "level": account.level,
        "name": display_name(vault, account),
        "id_number": mask_id_number(plain["id_number"]) if plain["id_number"] else None,
        "phone": mask_phone(plain["phone"]) if plain["phone"] else None,
        "staff": member,
        "created_at": account.created_at,
        "version": account.version,
    }


async def holder(
    session: AsyncSession, vault: Vault, account_id: str, *, reader: str, purpose: str
) -> dict[str, Any]:
    """Name and number of an account, unmasked; the read is written to its access log."""
    account = await session.get(Account, account_id)
    if account is None:
        raise _unknown()
    plain = _opened(vault, account)
    fields = ["name", "id_number"]
    session.add(
        AccessLog(
            id=new_id("read"),
            account_id=account.id,
            reader=reader,
            purpose=purpose,
            fields=fields,
            at=now(),
        )
    )
    return {
        "id": account.id,
        "kind": account.kind,
        "level": account.level,
        "name": plain["name"],
        "id_number": plain["id_number"],
    }


async def reads(
    session: AsyncSession, account_id: str, *, before: str | None, limit: int
) -> list[AccessLog]:
    """Who read this account's data, the latest first; one more than `limit` when there is more."""
    query = select(AccessLog).where(AccessLog.account_id == account_id)
    if before is not None:
        query = query.where(AccessLog.id < before)
    return list(await session.scalars(query.order_by(AccessLog.id.desc()).limit(limit + 1)))


def name_and_number(vault: Vault, account: Account) -> tuple[str, str | None]:
    """Unmasked, for a check on the person's own behalf."""
    plain = _opened(vault, account)
    return plain["name"], plain["id_number"]


def name_and_phone(vault: Vault, account: Account) -> tuple[str, str | None]:
    """Unmasked, to compare with what somebody else said of the person."""
    plain = _opened(vault, account)
    return plain["name"], plain["phone"]


def rename(vault: Vault, account: Account, name: str) -> None:
    """A firm is called as its register says now."""
    if _opened(vault, account)["name"] != name:
        account.name = vault.seal(name, bound_to=_bound("name", account.id))
        account.version += 1


def display_name(vault: Vault, account: Account) -> str:
    """What others may read: a firm's name, which is public, and a person's masked."""
    name: str = _opened(vault, account)["name"]
    return name if account.kind == "enterprise" else mask_name(name)


def phone_of(vault: Vault, account: Account) -> str | None:
    """The telephone number of an account, to send its owner a code."""
    phone: str | None = _opened(vault, account)["phone"]
    return phone


def _opened(vault: Vault, account: Account) -> dict[str, Any]:
    def text(column: str) -> str | None:
        sealed = getattr(account, column)
        return vault.open(sealed, bound_to=_bound(column, account.id)) if sealed else None

    return {column: text(column) for column in ("name", "id_number", "phone")}


def _unknown() -> NotFound:
    return NotFound("没有找到这个账户。", "There is no such account.")
