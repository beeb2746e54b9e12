"""What payers, staff and operators may ask of payment-svc."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from kit import crash
from kit.auth import Applicant, Caller, Gate, Operator
from kit.idempotency import read_key
from kit.lookups import Lookups
from kit.pages import Cursor, Limit, Page, Pager
from kit.routing import NOT_MODIFIED, Session, etag, not_modified, router

from . import attempts, ledger, orders, refunds
from .models import RefundState
from .schemas import AttemptIn, AttemptOut, LedgerOut, PaymentDetail, PaymentOut, RefundRow

Reader = Annotated[Caller, Depends(Gate(kinds=("person", "enterprise", "staff")))]
payments = router(prefix="/v1/payments", tags=["payments"])
returns = router(prefix="/v1/refunds", tags=["refunds"])
books = router(prefix="/v1/ledger", tags=["ledger"])
# An attempt talks to the channel, so it must not run inside the one transaction that the common
# route class opens for an Idempotency-Key. Nothing is stored for the key: a live attempt is given
# again, whatever the key.
live = APIRouter(prefix="/v1/payments", tags=["payments"])


@payments.get("")
async def list_payments(
    request: Request,
    session: Session,
    caller: Reader,
    case_id: Annotated[str | None, Query(max_length=60)] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Page[PaymentOut]:
    """A payer's own payments, or for staff those of their department; of one case if asked."""
    pager = Pager(request, limit, cursor, {"case_id": case_id, "caller": caller.subject})
    rows = await orders.find(
        session,
        caller,
        case_id=case_id,
        after=pager.after,
        limit=pager.size + 1,
    )
    return pager.page(rows, PaymentOut.model_validate, lambda row: [row.id])


@payments.get("/{payment_id}", response_model=PaymentDetail, responses=NOT_MODIFIED)
async def get_payment(
    request: Request,
    response: Response,
    session: Session,
    lookups: Lookups,
    caller: Reader,
    payment_id: str,
) -> Any:
    """One payment: what is owed, how it can be paid now, what was paid and given back."""
    view = await orders.view(session, lookups, payment_id, caller)
    unchanged = not_modified(request, view.version)
    if unchanged is not None:
        return unchanged
    response.headers["etag"] = etag(view.version)
    return PaymentDetail.of(view, caller)


@live.post(
    "/{payment_id}/attempts",
    status_code=201,
    responses={502: {"description": "the channel did not take it; try again or another way"}},
)
async def start_attempt(
    request: Request, caller: Applicant, payment_id: str, body: AttemptIn
) -> AttemptOut:
    """Pay: gives the code to scan. Asked again while it lives, the same code is given. When the
    channel does not answer in time the state is `unknown` and the code comes later: read the
    payment again."""
    read_key(request, required=True)
    runtime = request.app.state.runtime
    attempt = await attempts.start(runtime, payment_id, caller.subject, body.channel)
    crash.point("p6")
    return AttemptOut.of(attempt)


@returns.get("")
async def list_refunds(
    request: Request,
    session: Session,
    _: Operator,
    state: RefundState | None = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Page[RefundRow]:
    """All refunds or those in one state: what does not move is found here."""
    pager = Pager(request, limit, cursor, {"state": state, "of": "refunds"})
    rows = await refunds.find(session, state=state, after=pager.after, limit=pager.size + 1)
    return pager.page(rows, RefundRow.model_validate, lambda row: [row.id])


@books.get("/balance")
async def get_ledger_balance(session: Session, _: Operator) -> LedgerOut:
    """Every account of the ledger; the total is 0 or something is very wrong."""
    return LedgerOut.of(list(await ledger.balances(session)))
