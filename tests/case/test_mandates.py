"""Cases in somebody else's name: what an agent reaches, what a mandate counts, who is named."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from case_svc import mandates
from case_svc.models import Case, Mandate, MandateUse
from contracts.identity import MandateGranted, MandateRevoked
from kit.audit import StaffAction
from kit.auth import Caller
from kit.clock import now
from kit.ids import new_id
from kit.testing import Ground, Running, key

from .test_cases import FORM, PDF, draft, emitted

PRINCIPAL, AGENT = "acc_principal", "acc_agent"


@pytest.fixture(autouse=True)
def _own_token(case: Running, ground: Ground) -> None:
    """case-svc's token for asking others; nobody issues one here."""
    token = ground.service_token("case")["authorization"].removeprefix("Bearer ")
    case.runtime.calls._token, case.runtime.calls._token_ends = token, 1e12


def by_agent(ground: Ground, mandate: str, **act: str) -> dict[str, str]:
    who = {"sub": AGENT, "kind": "person", **act}
    return ground.person(PRINCIPAL, act=who, mandate=mandate)


async def grant(case: Running, mandate: str | None = None, **changes: Any) -> str:
    said: dict[str, Any] = {
        "mandate_id": mandate or new_id("mnd"),
        "principal_id": PRINCIPAL,
        "agent_id": AGENT,
        "item_codes": ["A05"],
        "valid_from": now() - timedelta(days=1),
        "valid_until": now() + timedelta(days=1),
        "max_uses": None,
        **changes,
    }
    await case.hear(MandateGranted(**said), times=2, subject=said["mandate_id"], version=2)
    return str(said["mandate_id"])


async def revoke(case: Running, mandate: str) -> None:
    event = MandateRevoked(mandate_id=mandate, principal_id=PRINCIPAL, agent_id=AGENT)
    await case.hear(event, times=2, subject=mandate, version=3)


async def opened(case: Running, headers: dict[str, str], item: str = "A05") -> httpx.Response:
    return await case.client.post(
        "/v1/cases", json={"item_code": item}, headers={**headers, **key()}
    )


async def filled(case: Running, headers: dict[str, str]) -> str:
    """A draft that lacks nothing; its path."""
    made = (await opened(case, headers)).json()
    path = f"/v1/cases/{made['id']}"
    match = {"if-match": '"1"'}
    await case.client.patch(path, json={"form": FORM}, headers={**headers, **match})
    slot = next(s for s in made["materials"] if s["material_id"] == "RULES")
    await case.client.put(f"{path}/materials/{slot['id']}", content=PDF, headers=headers)
    return path


async def test_an_agent_from_draft_to_submission(case: Running, ground: Ground) -> None:
    """Both are written down everywhere, and the principal sees who did it."""
    mandate = await grant(case, max_uses=1)
    agent, principal = by_agent(ground, mandate), ground.person(PRINCIPAL)
    path = await filled(case, agent)
    done = await case.client.post(f"{path}/submit", headers=agent)
    assert (done.status_code, done.json()["state"]) == (200, "submitted"), done.text
    line = (await case.client.get("/v1/cases", headers=principal)).json()["items"][0]
    assert (line["applicant_id"], line["actor_id"], line["mandate_id"]) == (
        PRINCIPAL,
        AGENT,
        mandate,
    )
    told = (await case.client.get(f"{path}/timeline", headers=principal)).json()
    assert told["intact"]
    assert {(e["actor"], e["principal"]) for e in told["entries"]} == {(AGENT, PRINCIPAL)}
    events = await emitted(case, path.rpartition("/")[2])
    assert [event.event_type for event in events] == ["case.mandate_used.v1", "case.submitted.v1"]
    assert {(event.actor, event.onbehalfof) for event in events} == {(AGENT, PRINCIPAL)}
    assert events[0].data == {"mandate_id": mandate, "case_id": events[1].subject, "uses": 1}
    assert events[1].data["applicant_id"] == PRINCIPAL
    # One matter was all that it allows; this one may still be read and mended.
    assert (await case.client.get(path, headers=agent)).status_code == 200
    more = await opened(case, agent)
    assert (more.status_code, more.json()["code"]) == (403, "mandate_ends_here")


async def test_an_agent_sees_what_is_under_the_mandate(case: Running, ground: Ground) -> None:
    own = await draft(case, ground, PRINCIPAL)
    one, other = await grant(case), await grant(case)
    path = await filled(case, by_agent(ground, one))
    for headers in (
        by_agent(ground, other),
        by_agent(ground, one, sub="acc_thief"),
        ground.person(AGENT),
        ground.person("acc_principal_2", act={"sub": AGENT, "kind": "person"}, mandate=one),
    ):
        for method, end in (("GET", ""), ("POST", "/submit"), ("GET", "/timeline")):
            answer = await case.client.request(method, path + end, headers=headers)
            assert answer.status_code == 404, (method, end)
    hidden = await case.client.get(f"/v1/cases/{own['id']}", headers=by_agent(ground, one))
    assert hidden.status_code == 404
    listed = await case.client.get("/v1/cases", headers=by_agent(ground, one))
    assert [f"/v1/cases/{line['id']}" for line in listed.json()["items"]] == [path]


@pytest.mark.parametrize(
    "changes",
    [
        {"item_codes": ["A06"]},
        {"valid_from": now() + timedelta(hours=1)},
        {"valid_until": now() - timedelta(hours=1)},
        {"agent_id": "acc_another"},
        {"principal_id": "acc_another"},
    ],
)
async def test_what_the_mandate_does_not_say(
    case: Running, ground: Ground, changes: dict[str, Any]
) -> None:
    mandate = await grant(case, **changes)
    answer = await opened(case, by_agent(ground, mandate))
    assert (answer.status_code, answer.json()["code"]) == (403, "mandate_ends_here")


async def test_a_mandate_that_is_not_heard_of_yet(case: Running, ground: Ground) -> None:
    answer = await opened(case, by_agent(ground, new_id("mnd")))
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "retry-after" in answer.headers


async def test_revoked_is_over_for_the_agent_and_not_for_the_principal(
    case: Running, ground: Ground
) -> None:
    mandate = await grant(case)
    agent, principal = by_agent(ground, mandate), ground.person(PRINCIPAL)
    path = await filled(case, agent)
    await revoke(case, mandate)
    await grant(case, mandate)  # an old event that comes again brings nothing back
    assert (await case.client.post(f"{path}/submit", headers=agent)).status_code == 404
    assert (await case.client.get(path, headers=agent)).status_code == 404
    assert (await opened(case, agent)).status_code == 403
    done = await case.client.post(f"{path}/submit", headers=principal)
    assert done.status_code == 200
    late = new_id("mnd")
    await revoke(case, late)
    await grant(case, late)
    assert (await opened(case, by_agent(ground, late))).status_code == 403


async def test_people_of_a_firm_need_no_mandate(case: Running, ground: Ground) -> None:
    firm = new_id("acc")

    def of_firm(who: str) -> dict[str, str]:
        token = ground.token(firm, "enterprise", act={"sub": who, "kind": "person"})
        return {"authorization": f"Bearer {token}"}

    path = await filled(case, of_firm("acc_one"))
    assert (await case.client.post(f"{path}/submit", headers=of_firm("acc_two"))).status_code == 200
    seen = (await case.client.get(path, headers=of_firm("acc_one"))).json()
    assert (seen["applicant_id"], seen["actor_id"], seen["mandate_id"]) == (firm, "acc_one", None)
    told = (await case.client.get(f"{path}/timeline", headers=of_firm("acc_one"))).json()
    assert [(e["actor"], e["principal"]) for e in told["entries"]] == [
        ("acc_one", firm),
        ("acc_two", firm),
    ]


async def test_help_at_the_counter_is_written_down(case: Running, ground: Ground) -> None:
    """Staff who fill in for a citizen stand in the timeline, the events and the trail."""
    mandate = await grant(case, agent_id="stf_w01", item_codes=None)
    desk = by_agent(ground, mandate, sub="stf_w01", kind="staff", dept="SAMR")
    path = await filled(case, desk)
    assert (await case.client.post(f"{path}/submit", headers=desk)).status_code == 200
    told = (await case.client.get(f"{path}/timeline", headers=desk)).json()["entries"]
    assert {(e["actor"], e["dept"], e["principal"]) for e in told} == {
        ("stf_w01", "SAMR", PRINCIPAL)
    }
    async with case.runtime.sessions() as session:
        trail = (
            await session.scalars(
                select(StaffAction).where(StaffAction.actor == "stf_w01").order_by(StaffAction.id)
            )
        ).all()
    assert [line.action for line in trail] == [
        "open_case",
        "save_case",
        "upload_material",
        "submit_case",
    ]
    assert all(line.things["for"] == PRINCIPAL and line.dept == "SAMR" for line in trail)


async def _case_row(case: Running, mandate: str) -> str:
    """A bare case, to be handed in as far as the count is concerned."""
    case_id = new_id("case")
    async with case.runtime.sessions.begin() as session:
        session.add(
            Case(
                id=case_id,
                state="draft",
                version=1,
                region="310115",
                dept="SAMR",
                item_code="A05",
                item_name="x",
                item={},
                applicant_id=PRINCIPAL,
                applicant_kind="person",
                mandate_id=mandate,
                channel="app",
                form=b"",
                delivery="none",
                timeline_head="",
            )
        )
    return case_id


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    limit=st.integers(1, 4),
    plan=st.lists(st.integers(0, 4), min_size=3, max_size=9),
)
async def test_never_more_uses_than_the_mandate_allows(
    case: Running, limit: int, plan: list[int]
) -> None:
    """Many hand in at once, some of them the same case again: the count is exact."""
    mandate = await grant(case, max_uses=limit)
    ids = {number: await _case_row(case, mandate) for number in set(plan)}
    caller = Caller(
        PRINCIPAL, "person", actors=(AGENT,), agent=AGENT, agent_kind="person", mandate=mandate
    )
    gate = asyncio.Semaphore(6)

    async def hand_in(case_id: str) -> bool:
        async with gate, case.runtime.sessions.begin() as session:
            row = await session.get_one(Case, case_id, with_for_update=True)
            if row.state != "draft":
                return False
            try:
                await mandates.use(session, caller, row)
            except mandates.MandateEnds:
                return False
            row.state = "submitted"
            return True

    done = await asyncio.gather(*(hand_in(ids[number]) for number in plan))
    async with case.runtime.sessions() as session:
        kept = await session.get_one(Mandate, mandate)
        rows = await session.scalar(
            select(func.count()).select_from(MandateUse).where(MandateUse.mandate_id == mandate)
        )
    assert sum(done) == rows == kept.uses == min(limit, len(ids))
