"""What payers, staff and operators may ask of payment-svc."""

from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from kit import crash
from kit.auth import Applicant, Caller, Gate, Operator
from kit.idempotency import read_key
from kit.lookups import Lookups
from kit.pages import Cursor, Limit, Page, Pager
from kit.routing import NOT_MODIFIED, Session, etag, not_modified, router

from . import attempts, differences, ledger, orders, reconciliations, refunds
from .models import RefundState
from .models_reconciliation import (
    Difference,
    DifferenceState,
    DifferenceType,
    Reconciliation,
    ReconciliationState,
)
from .outside import channel_of
from .schemas import (
    AttemptIn,
    AttemptOut,
    DifferenceOut,
    LedgerOut,
    PaymentDetail,
    PaymentOut,
    ReconciliationIn,
    ReconciliationOut,
    RefundRow,
    SettleIn,
)

Reader = Annotated[Caller, Depends(Gate(kinds=("person", "enterprise", "staff")))]
payments = router(prefix="/v1/payments", tags=["payments"])
returns = router(prefix="/v1/refunds", tags=["refunds"])
books = router(prefix="/v1/ledger", tags=["ledger"])
days = router(prefix="/v1/reconciliations", tags=["reconciliations"])
gaps = router(prefix="/v1/differences", tags=["reconciliations"])
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


@days.get("")
async def list_reconciliations(
    request: Request,
    session: Session,
    _: Operator,
    state: ReconciliationState | None = None,
    channel: Annotated[str | None, Query(max_length=30)] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Page[ReconciliationOut]:
    """The days of all channels or one, newest first, all or those in one state."""
    pager = Pager(
        request, limit, cursor, {"state": state, "channel": channel, "of": "reconciliations"}
    )
    after = None
    if pager.position is not None:
        after = date.fromisoformat(pager.position[0]), str(pager.position[1])
    rows = await reconciliations.find(
        session, state=state, channel=channel, after=after, limit=pager.size + 1
    )
    return pager.page(rows, ReconciliationOut.model_validate, lambda row: [row.day, row.id])


@days.post("", status_code=201, response_model=ReconciliationOut)
async def start_reconciliation(
    request: Request, response: Response, session: Session, _: Operator, body: ReconciliationIn
) -> Reconciliation:
    """Have the bill of a day fetched and compared now, for the first time or again. There is one
    reconciliation of a day: asked again it is the same, and the same bill changes nothing."""
    channel = channel_of(request.app.state.runtime, body.channel)
    row = await reconciliations.ask(session, channel.name, body.day)
    response.headers["location"] = f"/v1/reconciliations/{row.id}"
    return row


@days.get("/{reconciliation_id}", response_model=ReconciliationOut)
async def get_reconciliation(
    session: Session, _: Operator, reconciliation_id: str
) -> Reconciliation:
    """One day of a channel: what its bill sums up, and what our books moved by it."""
    return await reconciliations.read(session, reconciliation_id)


@days.get("/{reconciliation_id}/differences")
async def list_differences(
    request: Request,
    session: Session,
    _: Operator,
    reconciliation_id: str,
    state: DifferenceState | None = None,
    type: DifferenceType | None = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Page[DifferenceOut]:
    """In what the bill of a day and the books do not agree, or did not."""
    filters = {"state": state, "type": type, "of": reconciliation_id}
    pager = Pager(request, limit, cursor, filters)
    run = await reconciliations.read(session, reconciliation_id)
    rows = await differences.find(
        session, run.id, state=state, type_=type, after=pager.after, limit=pager.size + 1
    )
    return pager.page(rows, DifferenceOut.model_validate, lambda row: [row.id])


@gaps.post("/{difference_id}/settle", response_model=DifferenceOut)
async def settle_difference(
    session: Session, caller: Operator, difference_id: str, body: SettleIn
) -> Difference:
    """End a difference that was seen to outside of the books, and say how. Nothing is booked by
    it; the day closes once nothing else is open."""
    return await differences.settle(session, difference_id, note=body.note, by=caller.subject)


@gaps.post("/{difference_id}/reopen", response_model=DifferenceOut)
async def reopen_difference(session: Session, _: Operator, difference_id: str) -> Difference:
    """Take back that a difference was settled; its day is open again."""
    return await differences.reopen(session, difference_id)
