"""Accounts over HTTP: registering, seeing oneself, and what services may ask."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from kit import routing
from kit.auth import Anyone, Applicant, Operator, Public, ServiceCaller
from kit.clock import now
from kit.errors import Unavailable
from kit.pages import Cursor, Limit, Page, Pager
from kit.routing import IfMatch, Session, check_version, etag

from .. import access_logs, accounts, attempts, departments, levels, phone_codes
from ..schemas import (
    AccountState,
    Holder,
    Me,
    PhoneCodeRequest,
    PhoneCodeSent,
    Places,
    Read,
    Received,
    Registration,
)
from .web import At

router = routing.router(tags=["accounts"])
own_router = APIRouter(tags=["accounts"])
"""Where the outside is asked between two transactions."""
Purpose = Annotated[
    str,
    Query(
        pattern="^[a-z][a-z_]{2,39}$",
        description="what the data is read for; the person sees it in the access log",
    ),
]


@router.post(
    "/v1/accounts",
    status_code=201,
    responses={201: {"links": {"authorize": {"operationId": "authorize"}}}},
)
async def register_person(at: At, session: Session, body: Registration, _: Public) -> Received:
    """Register a person. The answer does not tell whether the telephone number was known."""
    settings = at.settings
    async with at.runtime.sessions.begin() as counting:
        await attempts.take(
            counting,
            at.runtime.vault.index(f"registrations|{at.address()}"),
            limit=settings.registrations_per_address,
            now=now(),
            minutes=settings.tries_minutes,
        )
    proof = body.phone_code
    if proof is not None:
        async with at.runtime.sessions.begin() as using:
            right = await phone_codes.use(
                using,
                at.runtime.vault,
                code_id=proof.id,
                code=proof.code.get_secret_value(),
                phone=body.phone,
                purpose="register",
            )
        if not right:
            raise phone_codes.wrong_code()
        await accounts.free_phone(session, at.runtime.vault, body.phone)
    password = body.password.get_secret_value() if body.password else None
    made = await accounts.register(
        session,
        at.runtime.vault,
        name=body.name,
        id_number=body.id_number,
        phone=body.phone,
        password_hash=await at.door.passwords.hash(password) if password else None,
    )
    if made and proof is not None:
        await levels.registered_with_phone(session, at.runtime.vault, body.phone)
    return Received()


@own_router.post(
    "/v1/phone-codes",
    responses={
        201: {
            "model": PhoneCodeSent,
            "description": "a code is on its way; however often one is asked for, one a minute",
            "links": {"register_person": {"operationId": "register_person"}},
        }
    },
)
async def send_phone_code(
    at: At, body: PhoneCodeRequest, answer: Response, _: Public
) -> PhoneCodeSent:
    """Send a code for registering or for a change of number; one a minute, five an hour each."""
    # Not the route's own status: that would promise that an Idempotency-Key is heeded.
    answer.status_code = 201
    code_id, sent = await phone_codes.send(
        at.runtime.sessions,
        at.runtime.vault,
        at.outside.messages,
        phone=body.phone,
        purpose=body.purpose,
        address=at.address(),
        per_address=at.settings.codes_per_address,
    )
    if sent == "refused":
        raise Unavailable(
            "短信没有发出。请检查号码,一分钟后再试。",
            "No message went out. Check the number and try again in a minute.",
            retry_after=60,
        )
    return PhoneCodeSent(
        id=code_id, delivery=sent, expires_in=int(phone_codes.LIFE.total_seconds())
    )


@router.get("/v1/me")
async def me(at: At, session: Session, response: Response, caller: Anyone) -> Me:
    """The caller's own account, masked."""
    view = await accounts.own_view(session, at.runtime.vault, caller.subject)
    response.headers["etag"] = etag(view["version"])
    return Me.model_validate(view)


@router.get("/v1/me/access-log")
async def my_access_log(
    at: At, session: Session, caller: Applicant, limit: Limit = 20, cursor: Cursor = None
) -> Page[Read]:
    """Who read the caller's data, here and in the other services, and what for; the latest first.
    Staff appear by their department, once an hour for each thing."""
    pager = Pager(at.request, limit, cursor, {"account": caller.subject})
    rows = await accounts.reads(session, caller.subject, before=pager.after, limit=pager.size)
    return pager.page(
        rows,
        lambda row: Read.model_validate(access_logs.shown(row)),
        lambda row: [row.id],
        "/v1/me/access-log",
    )


@router.get("/internal/v1/accounts/{account_id}/holder")
async def account_holder(
    at: At, account_id: str, caller: ServiceCaller, purpose: Purpose = "service_task"
) -> Holder:
    """Name and number of an account, unmasked, for another service; the read is logged."""
    async with at.runtime.sessions.begin() as session:
        found = await accounts.holder(
            session, at.runtime.vault, account_id, reader=caller.subject, purpose=purpose
        )
    return Holder.model_validate(found)


@router.post("/v1/accounts/{account_id}/suspend")
async def suspend_account(
    session: Session, account_id: str, seen: IfMatch, _: Operator
) -> AccountState:
    """Suspend an account: it cannot sign in, and its refresh tokens stand still."""
    return await _moved(session, account_id, seen, "suspend")


@router.post("/v1/accounts/{account_id}/restore")
async def restore_account(
    session: Session, account_id: str, seen: IfMatch, _: Operator
) -> AccountState:
    """Restore a suspended account."""
    return await _moved(session, account_id, seen, "restore")


async def _moved(session: Session, account_id: str, seen: int | None, action: str) -> AccountState:
    account = await accounts.change_state(session, account_id, action)
    check_version(account.version - 1, seen)
    return AccountState.model_validate(account)


@router.get("/v1/departments")
async def list_departments(_: Public, response: Response) -> Places:
    """The departments and districts of the city."""
    response.headers["cache-control"] = "public, max-age=300"
    return Places.model_validate(departments.places())
