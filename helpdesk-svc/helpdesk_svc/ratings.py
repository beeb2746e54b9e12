"""Ratings (好差评): invited once for each handling, given once, or lapsed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from sqlalchemy import select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.case import CaseClosed
from contracts.helpdesk import RatingInvited
from kit.auth import Caller
from kit.clock import WorkCalendar, city_day, now
from kit.errors import Invalid, NotFound, Problem
from kit.ids import derived_id
from kit.inbox import Meta
from kit.outbox import emit
from kit.rights import reach
from kit.secrets import Vault
from kit.states import move

from . import criteria
from .models import RATING, Rating


class RatingLapsed(Problem):
    status, code, title = 409, "rating_lapsed", ("评价期限已过", "The time to rate is over")


@dataclass(frozen=True)
class Opinion:
    """What somebody says of a handling. `score` and the indicators' values are 1 to 5."""

    score: int
    reasons: Sequence[str] = ()
    indicators: Mapping[str, int] = field(default_factory=dict)
    comment: str | None = field(default=None, repr=False)


async def invite(
    session: AsyncSession, calendar: WorkCalendar, closed: CaseClosed, meta: Meta, *, days: int
) -> None:
    """Ask the applicant of a closed case for a rating, within `days` working days of its close;
    once a case, however often it is called."""
    due = calendar.add_working_days(city_day(meta.time), days).due
    row = insert(Rating).values(
        id=derived_id("rating", closed.case_id),
        version=1,
        state="invited",
        case_id=closed.case_id,
        account_id=closed.applicant_id,
        item_code=closed.item_code,
        item_name=closed.item_name,
        channel=closed.channel,
        outcome=closed.outcome,
        region=meta.region,
        dept=meta.dept,
        due=due,
        reasons=[],
        indicators={},
    )
    made = await session.scalar(row.on_conflict_do_nothing().returning(Rating.id))
    if made is None:
        return
    emit(
        session,
        RatingInvited(
            rating_id=made, case_id=closed.case_id, account_id=closed.applicant_id, due=due
        ),
        subject=made,
        version=1,
        region=meta.region,
        dept=meta.dept,
    )


def submit(session: AsyncSession, vault: Vault, row: Rating, opinion: Opinion) -> None:
    """Give a locked rating, once. Raises Invalid (422) for a reason or an indicator that does not
    belong here, RatingLapsed and IllegalMove (409)."""
    if row.state == "lapsed" or (row.state == "invited" and row.due < city_day(now())):
        raise RatingLapsed(
            "评价期限已过。如有意见,请拨打 12345 反映。",
            "The time to rate is over. Tell us by calling 12345.",
        )
    _check(row, opinion)
    row.score = opinion.score
    row.reasons = list(opinion.reasons)
    row.indicators = dict(opinion.indicators)
    if opinion.comment:
        row.comment = vault.seal(opinion.comment, bound_to=_bound_to(row.id))
    row.rated_at = now()
    move(
        session,
        row,
        RATING,
        "submit",
        rating_id=row.id,
        case_id=row.case_id,
        score=opinion.score,
    )


def _check(row: Rating, opinion: Opinion) -> None:
    errors = []
    fitting = criteria.reasons_for(opinion.score)
    for place, reason in enumerate(opinion.reasons):
        if reason not in fitting:
            errors.append(
                {
                    "pointer": f"/body/reasons/{place}",
                    "code": "reason_unfit",
                    "message": "此原因不适用于所选满意度,请从列表中选择。",
                    "message_en": "Choose a reason from the list for this score.",
                }
            )
    asked = {choice.code for choice in criteria.indicators_for(row.channel)}
    if not opinion.indicators.keys() <= asked:
        errors.append(
            {
                "pointer": "/body/indicators",
                "code": "indicator_unfit",
                "message": "含有不适用于本次办理方式的指标,请从列表中选择。",
                "message_en": "Rate only the indicators that are asked for this way of handling.",
            }
        )
    if errors:
        raise Invalid(
            "有内容需要修改,请看 errors 中逐项的说明。",
            "Some fields need a change; see errors.",
            errors=errors,
        )


async def of_account(
    session: AsyncSession, account_id: str, rating_id: str, *, lock: bool = False
) -> Rating:
    """A rating of this account. Raises NotFound, also for somebody else's."""
    wanted = select(Rating).where(Rating.id == rating_id, Rating.account_id == account_id)
    row = await session.scalar(wanted.with_for_update() if lock else wanted)
    if row is None:
        raise NotFound("没有找到这次评价。", "There is no such rating of yours.")
    return row


Position = tuple[datetime, str]


async def list_of_account(
    session: AsyncSession,
    account_id: str,
    *,
    case_id: str | None,
    before: Position | None,
    limit: int,
) -> list[Rating]:
    """An account's ratings, given or asked for, newest first."""
    wanted = select(Rating).where(Rating.account_id == account_id)
    if case_id is not None:
        wanted = wanted.where(Rating.case_id == case_id)
    if before is not None:
        wanted = wanted.where(tuple_(Rating.invited_at, Rating.id) < before)
    order = wanted.order_by(Rating.invited_at.desc(), Rating.id.desc())
    return list(await session.scalars(order.limit(limit)))


async def list_received(
    session: AsyncSession,
    staff: Caller,
    *,
    worst: int | None,
    before: Position | None,
    limit: int,
) -> list[Rating]:
    """Ratings of what lies in the caller's department, region and items, newest first; with `worst`
    those with at most this score."""
    wanted = select(Rating).where(
        Rating.state == "rated",
        reach(staff, dept=Rating.dept, region=Rating.region, item=Rating.item_code),
    )
    if worst is not None:
        wanted = wanted.where(Rating.score <= worst)
    if before is not None:
        wanted = wanted.where(tuple_(Rating.rated_at, Rating.id) < before)
    order = wanted.order_by(Rating.rated_at.desc(), Rating.id.desc())
    return list(await session.scalars(order.limit(limit)))


def comment_of(vault: Vault, row: Rating) -> str | None:
    """The free text, for the rater and the department that was rated."""
    if row.comment is None:
        return None
    return vault.open(row.comment, bound_to=_bound_to(row.id))


def _bound_to(rating_id: str) -> str:
    return f"rating|comment|{rating_id}"


async def lapse_overdue(session: AsyncSession, today: date, *, limit: int = 500) -> int:
    """Close invitations whose last day is over. Returns how many those were."""
    rows = list(
        await session.scalars(
            select(Rating)
            .where(Rating.state == "invited", Rating.due < today)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
    )
    for row in rows:
        move(session, row, RATING, "lapse")
    return len(rows)
