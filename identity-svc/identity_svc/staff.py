"""Members of staff: who there is, what they may do where, switching them off.

Rights are role × department × region × item and stand in the token (see kit.rights). Whoever
changes them is an operator, and never changes his own. Tokens with the old rights are refused at
once; the next refresh brings the new ones.
"""

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from kit.errors import Conflict, Forbidden, Invalid, NotFound
from kit.ids import new_id
from kit.routing import check_version
from kit.secrets import Vault

from . import accounts, families
from .departments import is_department, is_region
from .models import Account, StaffMember

Row = tuple[StaffMember, Account]


def _check_place(dept: str, region: str) -> None:
    if not is_department(dept) or not is_region(region):
        raise Invalid(
            "请填写部门代码和区划代码,可选值见 GET /v1/departments;全市为 310000。",
            "Name a department and a district as in GET /v1/departments; 310000 is the whole city.",
        )


async def add(
    session: AsyncSession,
    vault: Vault,
    *,
    number: str,
    name: str,
    password_hash: str,
    roles: list[str],
    dept: str,
    region: str,
    items: list[str] | None,
) -> Row:
    """A new member of staff with an account at L2 (whoever adds them vouches for the name).
    Raises Invalid for an unknown place, Conflict when the number is taken."""
    _check_place(dept, region)
    account_id = new_id("stf")
    await accounts.register(
        session,
        vault,
        account_id=account_id,
        kind="staff",
        name=name,
        level="L2",
        password_hash=password_hash,
    )
    member = StaffMember(
        account_id=account_id,
        number=number,
        roles=sorted(set(roles)),
        dept=dept,
        region=region,
        items=None if items is None else sorted(set(items)),
    )
    session.add(member)
    try:
        await session.flush()
    except IntegrityError:
        raise Conflict("这个工号已经有人使用。", "This staff number is taken.") from None
    return member, await session.get_one(Account, account_id)


async def listed(
    session: AsyncSession, *, dept: str | None, after: str | None, limit: int
) -> list[Row]:
    """Members of staff by id; one more than `limit` when there is more."""
    query = select(StaffMember, Account).join(Account, Account.id == StaffMember.account_id)
    if dept is not None:
        query = query.where(StaffMember.dept == dept)
    if after is not None:
        query = query.where(StaffMember.account_id > after)
    found = await session.execute(query.order_by(StaffMember.account_id).limit(limit + 1))
    return [(member, account) for member, account in found]


async def one(session: AsyncSession, account_id: str, *, lock: bool = False) -> Row:
    """A member of staff with the account. Raises NotFound, for a person's account too."""
    account = await session.get(Account, account_id, with_for_update=lock)
    member = await session.get(StaffMember, account_id, with_for_update=lock)
    if account is None or member is None:
        raise NotFound("没有找到这名工作人员。", "There is no such member of staff.")
    return member, account


async def change_rights(
    session: AsyncSession,
    account_id: str,
    *,
    by: str,
    seen: int | None,
    roles: list[str],
    dept: str,
    region: str,
    items: list[str] | None,
) -> Row:
    """Other rights from now on. Raises NotFound, Forbidden (own rights), Stale, Invalid."""
    member, account = await one(session, account_id, lock=True)
    _not_oneself(account_id, by)
    check_version(account.version, seen, required=True)
    _check_place(dept, region)
    member.roles, member.dept, member.region = sorted(set(roles)), dept, region
    member.items = None if items is None else sorted(set(items))
    account.version += 1
    families.tell(session, "account", account_id)
    return member, account


async def switch(
    session: AsyncSession, account_id: str, *, by: str, seen: int | None, on: bool
) -> Row:
    """Switched off, nobody signs in with the number and the tokens are refused everywhere.
    Raises NotFound, Forbidden (oneself), Stale, IllegalMove."""
    member, account = await one(session, account_id, lock=True)
    _not_oneself(account_id, by)
    check_version(account.version, seen)
    await accounts.change_state(session, account_id, "restore" if on else "suspend")
    return member, account


def _not_oneself(account_id: str, by: str) -> None:
    if account_id == by:
        raise Forbidden(
            "不能修改自己的权限或账户。请由另一名运维人员操作。",
            "Nobody changes his own rights. Ask another operator.",
        )
