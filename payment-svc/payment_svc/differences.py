"""Differences between a channel's bill and the books: told when they open, ended by the channel's
proof, by another bill, or by a person with a note."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.payment import PaymentReconciliationDifference
from kit.clock import now
from kit.errors import NotFound
from kit.jobs import wake
from kit.outbox import emit
from kit.states import move

from .models_reconciliation import (
    DIFFERENCE_TRANSITIONS,
    Difference,
    DifferenceState,
    DifferenceType,
    Reconciliation,
)


class Finding(StrEnum):
    """Why a difference is still open: what asking the channel brought, or why it cannot help."""

    NO_ANSWER = "no_answer"
    BILL_LACKS_IT = "bill_lacks_it"
    """Asked, the channel confirms our books: only its bill does not have it."""
    CHANNEL_DENIES = "channel_denies"
    """Asked, the channel does not know of what its bill or our books tell."""
    OTHER_AMOUNT = "other_amount"
    OTHER_NUMBER = "other_number"
    UNKNOWN_NUMBER = "unknown_number"


class Outcome(StrEnum):
    """How a difference ended."""

    BILL_CORRECTED = "bill_corrected"
    BOOKS_CORRECTED = "books_corrected"
    """The news came the usual way in the meantime."""
    BOOKED = "booked"
    """The channel was asked, and what it said was booked."""
    CONFIRMED = "confirmed"
    """Asked, the channel confirms our books; its bill was made before."""
    SETTLED = "settled"


async def tell(session: AsyncSession, run: Reconciliation, ids: Sequence[str]) -> None:
    """Tell the others of differences that have just opened."""
    for difference in await session.scalars(
        select(Difference)
        .where(Difference.id.in_(ids))
        .order_by(Difference.id)
        .execution_options(populate_existing=True)
    ):
        event = PaymentReconciliationDifference(**_facts(run, difference))
        emit(session, event, subject=difference.id, version=difference.version)


def _facts(run: Reconciliation, difference: Difference) -> dict[str, object]:
    return {
        "difference_id": difference.id,
        "reconciliation_id": run.id,
        "channel": run.channel,
        "day": run.day,
        "type": difference.type,
        "bill_fen": difference.bill_fen,
        "books_fen": difference.books_fen,
        "payment_id": difference.order_id,
    }


def repair(session: AsyncSession, difference: Difference, outcome: Outcome) -> None:
    """End it: bill and books agree, by the channel's own word. `difference` is locked."""
    difference.outcome, difference.ended_at, difference.next_at = outcome, now(), None
    difference.finding = None
    move(session, difference, DIFFERENCE_TRANSITIONS, "repair")


def keep(difference: Difference, finding: Finding, *, again_at: datetime | None) -> None:
    """Leave it open, and say why. `again_at`: when the channel is asked next, None: never."""
    difference.finding, difference.next_at = finding, again_at
    difference.tries += 1


async def settle(session: AsyncSession, id_: str, *, note: str, by: str) -> Difference:
    """A person ends it and says why; the day may close then. Raises NotFound (404), IllegalMove
    (409) unless it is open."""
    run, difference = await _locked(session, id_)
    difference.note, difference.ended_by, difference.ended_at = note, by, now()
    difference.outcome, difference.next_at = Outcome.SETTLED, None
    move(session, difference, DIFFERENCE_TRANSITIONS, "settle")
    _review(session, run)
    return difference


async def reopen(session: AsyncSession, id_: str) -> Difference:
    """Take back what a person has settled; the note stays until there is another one. Raises
    NotFound (404), IllegalMove (409) unless it is settled."""
    run, difference = await _locked(session, id_)
    move(session, difference, DIFFERENCE_TRANSITIONS, "reopen", **_facts(run, difference))
    difference.outcome = difference.ended_by = difference.ended_at = None
    _review(session, run)
    return difference


async def _locked(session: AsyncSession, id_: str) -> tuple[Reconciliation, Difference]:
    """A difference and its day, locked: the day first, as a comparison does."""
    found = await session.get(Difference, id_)
    if found is None:
        raise NotFound("没有这条对账差异。请从对账列表重新进入。", "There is no such difference.")
    run = await session.get_one(
        Reconciliation, found.reconciliation_id, with_for_update=True, populate_existing=True
    )
    difference = await session.get_one(
        Difference, id_, with_for_update=True, populate_existing=True
    )
    return run, difference


def _review(session: AsyncSession, run: Reconciliation) -> None:
    run.review_at = now()
    wake(session, "review_reconciliations")


async def find(
    session: AsyncSession,
    run_id: str,
    *,
    state: DifferenceState | None,
    type_: DifferenceType | None,
    after: str | None,
    limit: int,
) -> Sequence[Difference]:
    """The differences of a day by id, those after the id `after`."""
    query = select(Difference).where(Difference.reconciliation_id == run_id)
    if state is not None:
        query = query.where(Difference.state == state)
    if type_ is not None:
        query = query.where(Difference.type == type_)
    if after is not None:
        query = query.where(Difference.id > after)
    return (await session.scalars(query.order_by(Difference.id).limit(limit))).all()


async def due(session: AsyncSession, run_id: str, *, limit: int) -> Sequence[str]:
    """Open differences of a day for which the channel is to be asked now."""
    query = (
        select(Difference.id)
        .where(
            Difference.reconciliation_id == run_id,
            Difference.state == DifferenceState.OPEN,
            Difference.next_at <= func.now(),
        )
        .order_by(Difference.next_at)
        .limit(limit)
    )
    return (await session.scalars(query)).all()
