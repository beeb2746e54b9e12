"""Members of staff, managed by operators."""

from typing import Annotated

from fastapi import Query, Response

from kit import routing
from kit.auth import Operator
from kit.pages import Cursor, Limit, Page, Pager
from kit.routing import IfMatch, Session, etag

from .. import staff
from ..schemas_staff import NewStaff, Rights, StaffOut
from .web import At

router = routing.router(prefix="/v1/staff", tags=["staff"])


def _out(at: At, response: Response, row: staff.Row) -> StaffOut:
    member, account = row
    response.headers["etag"] = etag(account.version)
    return StaffOut.of(at.runtime.vault, member, account)


@router.get("")
async def list_staff(
    at: At,
    session: Session,
    _: Operator,
    dept: Annotated[str | None, Query(max_length=20, pattern="^[A-Z]+$")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[StaffOut]:
    """The members of staff with their rights, of all departments or one."""
    pager = Pager(at.request, limit, cursor, {"list": "staff", "dept": dept})
    rows = await staff.listed(session, dept=dept, after=pager.after, limit=pager.size)
    return pager.page(
        rows,
        lambda row: StaffOut.of(at.runtime.vault, *row),
        lambda row: [row[1].id],
        "/v1/staff",
        dept=dept,
    )


@router.post("", status_code=201)
async def add_staff(
    at: At, session: Session, response: Response, body: NewStaff, _: Operator
) -> StaffOut:
    """Add a member of staff: number, first password, and rights."""
    rights = body.model_dump(include={"number", "name", "roles", "dept", "region", "items"})
    hashed = await at.door.passwords.hash(body.password.get_secret_value())
    row = await staff.add(session, at.runtime.vault, password_hash=hashed, **rights)
    response.headers["location"] = f"/v1/staff/{row[1].id}"
    return _out(at, response, row)


@router.get("/{account_id}")
async def read_staff(
    at: At, session: Session, response: Response, account_id: str, _: Operator
) -> StaffOut:
    """One member of staff."""
    return _out(at, response, await staff.one(session, account_id))


@router.put("/{account_id}/rights")
async def change_staff_rights(
    at: At,
    session: Session,
    response: Response,
    account_id: str,
    body: Rights,
    seen: IfMatch,
    caller: Operator,
) -> StaffOut:
    """Give other roles, another department, region or items; tokens with the old ones end.
    If-Match is needed. Nobody changes his own."""
    by = caller.actor or caller.subject
    row = await staff.change_rights(session, account_id, by=by, seen=seen, **body.model_dump())
    return _out(at, response, row)


@router.post("/{account_id}/switch-off")
async def switch_staff_off(
    at: At, session: Session, response: Response, account_id: str, seen: IfMatch, caller: Operator
) -> StaffOut:
    """Switch a member of staff off: no more signing in, and their tokens end."""
    by = caller.actor or caller.subject
    row = await staff.switch(session, account_id, by=by, seen=seen, on=False)
    return _out(at, response, row)


@router.post("/{account_id}/switch-on")
async def switch_staff_on(
    at: At, session: Session, response: Response, account_id: str, seen: IfMatch, caller: Operator
) -> StaffOut:
    """Let a member of staff in again."""
    by = caller.actor or caller.subject
    row = await staff.switch(session, account_id, by=by, seen=seen, on=True)
    return _out(at, response, row)
