"""`GET /v1/portal/home`: what an app shows first, in one call.

Each pillar is asked once, all at the same time, with the caller's own token. One that does not
answer in time costs its own part, which is then null: an empty list always means that there is
nothing.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any, TypeVar

import httpx
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ValidationError

from kit import clock, context
from kit.auth import Applicant, Caller
from kit.errors import Problem, Unauthenticated

from .pools import Breaker

router = APIRouter(tags=["portal"])
log = logging.getLogger(__name__)

SECONDS = 1.5
"""The longest that a pillar is waited for."""
EXPIRING = timedelta(days=90)

Item = TypeVar("Item", bound=BaseModel)


class BoundToken(Problem):
    status, code, title = 400, "bound_token", ("请逐项查询", "Ask for the parts")


class HomeMatter(BaseModel):
    case_id: str
    item_code: str | None
    item_name: str | None
    state: str
    turn: str
    """Whose turn it is."""
    dept: str
    changed_at: datetime


class HomeLicence(BaseModel):
    id: str
    licence_type: str
    name: str
    valid_until: date | None


class HomePayment(BaseModel):
    id: str
    case_id: str
    item_name: str
    amount_fen: int
    state: str
    expires_at: datetime


class HomeRating(BaseModel):
    id: str
    case_id: str
    item_name: str
    state: str
    due: date


class PortalHome(BaseModel):
    """Parts are null when their pillar is named in `unreachable`."""

    search: str
    """Address of the search for matters; put the person's words in place of `{words}`."""
    matters: list[HomeMatter] | None
    licences_expiring: list[HomeLicence] | None
    """In force and ending within 90 days."""
    payments_due: list[HomePayment] | None
    ratings_invited: list[HomeRating] | None
    unreachable: list[str]


class Pillars:
    """Asks the services for one caller; remembers who could not answer."""

    def __init__(self, request: Request, caller: Caller) -> None:
        self._probe, self._beam = request.state.probe, request.state.beam
        self._headers = {
            "authorization": f"Bearer {caller.token}",
            "x-request-id": context.request_id.get() or "",
            "traceparent": context.child_of(context.traceparent.get()),
        }
        self.unreachable: list[str] = []

    async def items(
        self, service: str, path: str, kind: type[Item], wanted: Callable[[Item], bool]
    ) -> list[Item] | None:
        """The items of a page that are wanted; None when there was no proper answer. Raises
        Unauthenticated when the service does not take the token."""
        found = await self._ask(service, path, kind)
        if found is None:
            self.unreachable.append(service)
            return None
        return [item for item in found if wanted(item)]

    async def _ask(self, service: str, path: str, kind: type[Item]) -> list[Item] | None:
        breaker: Breaker = self._beam.pools[service].breaker
        now = asyncio.get_running_loop().time
        if not breaker.lets_through(now()):
            return None
        url = self._probe.settings.url_of(service) + path
        try:
            async with asyncio.timeout(SECONDS):
                answer = await self._probe.client.get(url, headers=self._headers, timeout=SECONDS)
        except (TimeoutError, httpx.HTTPError):
            breaker.failed(now())
            return None
        breaker.failures = 0
        if answer.status_code == 401:
            raise Unauthenticated(
                "登录凭证未被接受。请重新登录或提升实名等级后重试。",
                "The access token was not accepted. Sign in again, or at a higher level.",
                headers={"www-authenticate": answer.headers.get("www-authenticate", "Bearer")},
            )
        if answer.status_code != 200:
            return None
        try:
            body: dict[str, Any] = answer.json()
            return [kind.model_validate(item) for item in body["items"]]
        except (ValidationError, ValueError, KeyError, TypeError):
            log.warning("the answer of %s for the home page is not what it used to be", service)
            return None


def _ends_soon(licence: HomeLicence) -> bool:
    end = licence.valid_until
    return end is not None and end <= _today() + EXPIRING


def _today() -> date:
    return clock.now().astimezone(clock.CITY).date()


@router.get("/v1/portal/home", response_model=PortalHome)
async def get_portal_home(request: Request, response: Response, caller: Applicant) -> PortalHome:
    """What waits for me: matters and whose turn it is, licences that end soon, payments due,
    ratings asked for. A pillar that is away is named in `unreachable`."""
    if caller.jkt is not None:
        raise BoundToken(
            "此凭证与密钥绑定,一份证明只能用于一个请求。请分别查询各项内容。",
            "The token is bound to a key and each proof is for one address: ask for the parts.",
        )
    ask = Pillars(request, caller)
    matters, licences, payments, ratings = await asyncio.gather(
        ask.items("exchange", "/v1/me/matters?limit=20", HomeMatter, lambda _: True),
        ask.items("licence", "/v1/me/licences/in-force", HomeLicence, _ends_soon),
        ask.items(
            "payment",
            "/v1/payments?limit=50",
            HomePayment,
            lambda payment: payment.state in ("created", "pending"),
        ),
        ask.items(
            "helpdesk",
            "/v1/ratings?limit=50",
            HomeRating,
            lambda rating: rating.state == "invited" and rating.due >= _today(),
        ),
    )
    response.headers["cache-control"] = "no-store"
    return PortalHome(
        search="/v1/items?q={words}",
        matters=matters,
        licences_expiring=licences,
        payments_due=payments,
        ratings_invited=ratings,
        unreachable=sorted(ask.unreachable),
    )
