"""`GET /v1/portal/home`: what an app shows first, in one call.

Every pillar is asked at the same time. One that does not answer in time costs its own part, which
is then null: an empty list always means that there is nothing.
"""

import asyncio
from datetime import date, datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from kit import clock
from kit.auth import Applicant

from .pillars import Pillars, headers_for
from .suggestions import suggested

router = APIRouter(tags=["portal"])

EXPIRING = timedelta(days=90)
MATTERS_SHOWN = 20

CaseId = Annotated[str, Field(examples=["case_019920c47a1e7cc29d425b6f0e9d6c4c"])]
ItemName = Annotated[str, Field(examples=["食品经营许可"])]


class HomeMatter(BaseModel):
    case_id: CaseId
    item_code: str | None
    item_name: str | None
    state: Annotated[str, Field(examples=["correction_requested"])]
    turn: Annotated[str, Field(examples=["applicant"])]
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
    case_id: CaseId
    item_name: ItemName
    amount_fen: int
    state: str
    expires_at: datetime


class HomeRating(BaseModel):
    id: str
    case_id: CaseId
    item_name: ItemName
    state: str
    due: date


class HomeMessage(BaseModel):
    """Something that waits for the person to act."""

    about: Literal["matter", "payment", "rating", "licence"]
    id: Annotated[str, Field(examples=["case_019920c47a1e7cc29d425b6f0e9d6c4c"])]
    name: Annotated[str | None, Field(examples=["食品经营许可"])]
    href: Annotated[str, Field(examples=["/v1/cases/case_019920c47a1e7cc29d425b6f0e9d6c4c"])]
    due: datetime | date | None
    """Until when, where there is a time."""


class HomeMessages(BaseModel):
    unread: int
    """How many wait: a message is read when what it asks for is done."""
    latest: list[HomeMessage]


class HomeItem(BaseModel):
    """An item as the catalogue tells it."""

    code: str
    name: ItemName
    dept_name: str
    applicant_kinds: list[str]
    everyday_terms: list[str] = []
    visits: int


class HomeService(HomeItem):
    """An item to start from."""

    for_tags: Annotated[list[str], Field(examples=[["food_business"]])]
    """The tags of the profile that it is suggested for; none: for everybody."""


class HomePrincipal(BaseModel):
    """Somebody for whom the person may act."""

    act_for: str
    """The parameter `act_for` of an authorization request."""
    kind: Literal["enterprise", "person"]
    name: Annotated[str, Field(examples=["滨海味道餐饮有限公司"])]
    role: str
    valid_until: datetime | None


class HomeTag(BaseModel):
    """A tag of the profile, see `GET /v1/me/profile/tags`."""

    code: Annotated[str, Field(examples=["food_business"])]
    name: Annotated[str, Field(examples=["食品经营者"])]


class HomePackage(BaseModel):
    """One thing (一件事): several items in one go."""

    code: str
    name: Annotated[str, Field(examples=["开办餐饮店"])]


class PortalHome(BaseModel):
    """Parts are null when their pillar is named in `unreachable`."""

    search: Annotated[str, Field(examples=["/v1/items?q={words}"])]
    """Address of the search for matters; put the person's words in place of `{words}`."""
    may_act_for: list[HomePrincipal] | None
    tags: list[HomeTag] | None
    matters: list[HomeMatter] | None
    licences_expiring: list[HomeLicence] | None
    """In force and ending within 90 days."""
    payments_due: list[HomePayment] | None
    ratings_invited: list[HomeRating] | None
    messages: HomeMessages | None
    """What waits for the person, from the parts above that could be had; null if none could."""
    packages: list[HomePackage] | None
    services: list[HomeService] | None
    """Items for this kind of applicant that are not under way already: those for the tags first,
    then as few visits as possible."""
    unreachable: list[str]


def _ends_soon(licence: HomeLicence) -> bool:
    end = licence.valid_until
    return end is not None and end <= _today() + EXPIRING


def _today() -> date:
    return clock.now().astimezone(clock.CITY).date()


def _messages(
    matters: list[HomeMatter] | None,
    payments: list[HomePayment] | None,
    ratings: list[HomeRating] | None,
    licences: list[HomeLicence] | None,
) -> HomeMessages | None:
    if matters is None and payments is None and ratings is None and licences is None:
        return None
    paying = {payment.case_id for payment in payments or ()}
    found = [
        HomeMessage(
            about="matter", id=m.case_id, name=m.item_name, href=f"/v1/cases/{m.case_id}", due=None
        )
        for m in matters or ()
        # What asks for money is told by its payment.
        if m.turn == "applicant" and m.case_id not in paying
    ]
    found += [
        HomeMessage(
            about="payment", id=p.id, name=p.item_name, href=f"/v1/payments/{p.id}",
            due=p.expires_at,
        )
        for p in payments or ()
    ]  # fmt: skip
    found += [
        HomeMessage(
            about="rating", id=r.id, name=r.item_name, href=f"/v1/ratings/{r.id}", due=r.due
        )
        for r in ratings or ()
    ]
    found += [
        HomeMessage(
            about="licence", id=n.id, name=n.name, href=f"/v1/licences/{n.id}", due=n.valid_until
        )
        for n in licences or ()
    ]
    return HomeMessages(unread=len(found), latest=found[:10])


def _services(
    items: list[HomeItem] | None, matters: list[HomeMatter] | None, tags: list[HomeTag] | None
) -> list[HomeService] | None:
    if items is None:
        return None
    best = suggested(
        items,
        under_way={matter.item_code for matter in matters or ()},
        tags=[tag.code for tag in tags or ()],
    )
    return [HomeService(**item.model_dump(), for_tags=held) for item, held in best]


@router.get("/v1/portal/home", response_model=PortalHome)
async def get_portal_home(request: Request, response: Response, caller: Applicant) -> PortalHome:
    """What waits for me: for whom I may act, matters and whose turn it is, licences that end
    soon, payments due, ratings asked for, what I may want to do next. A pillar that is away is
    named in `unreachable`."""
    probe, beam = request.state.probe, request.state.beam
    ask = Pillars(request, await headers_for(caller, beam.own_token, probe.client))
    about_me, (matters, licences, payments, ratings, packages, items) = await asyncio.gather(
        asyncio.gather(
            ask.own("identity", "/v1/me/principals", HomePrincipal),
            ask.own("identity", "/v1/me/profile/tags", HomeTag),
        ),
        asyncio.gather(
            ask.own("exchange", f"/v1/me/matters?limit={MATTERS_SHOWN}", HomeMatter),
            ask.own("licence", "/v1/me/licences/in-force", HomeLicence),
            ask.own("payment", "/v1/payments?limit=50", HomePayment),
            ask.own("helpdesk", "/v1/ratings?limit=50", HomeRating),
            ask.public("catalog", "/v1/packages", HomePackage),
            ask.public("catalog", f"/v1/items?kind={caller.kind}&limit=100", HomeItem),
        ),
    )
    principals, tags = about_me
    if licences is not None:
        licences = [licence for licence in licences if _ends_soon(licence)]
    if payments is not None:
        payments = [payment for payment in payments if payment.state in ("created", "pending")]
    if ratings is not None:
        ratings = [r for r in ratings if r.state == "invited" and r.due >= _today()]
    response.headers["cache-control"] = "no-store"
    return PortalHome(
        search="/v1/items?q={words}",
        may_act_for=principals,
        tags=tags,
        matters=matters,
        licences_expiring=licences,
        payments_due=payments,
        ratings_invited=ratings,
        messages=_messages(matters, payments, ratings, licences),
        packages=packages,
        services=_services(items, matters, tags),
        unreachable=sorted(ask.away),
    )
