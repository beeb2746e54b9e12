"""The doors of the reconciliation: who may, what is refused, how a person ends a difference and
takes it back; what the board and the gauges tell."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from beam.figures.discrepancies import make
from kit.testing import Ground, key
from payment_svc import money, reconciliations

from .conftest import PAYER, Town, open_town
from .reconciliation_stage import TODAY, ask, play, reconcile, reviewed, run_of

DAY = TODAY - timedelta(days=3)
OTHER = TODAY - timedelta(days=6)


@pytest.fixture(scope="module")
async def town(
    ground: Ground, nats_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Town]:
    """A day with eight differences, one that agrees, and no job that runs by itself."""
    async with open_town(ground, nats_url, tmp_path_factory) as opened:
        await opened.runtime.jobs.stop()
        for made in (make(DAY, lines=80, wrong=8), make(OTHER, lines=20, wrong=0)):
            await play(opened, made)
            await reconcile(opened, made.day)
        yield opened


async def test_only_operators_come_in(town: Town) -> None:
    run = (await run_of(town, DAY))["id"]
    body = {"channel": "wechat", "day": DAY.isoformat()}
    doors = (
        ("GET", "/v1/reconciliations", None),
        ("GET", f"/v1/reconciliations/{run}", None),
        ("GET", f"/v1/reconciliations/{run}/differences", None),
        ("POST", "/v1/reconciliations", body),
        ("POST", "/v1/differences/dif_x/settle", {"note": "已核对"}),
        ("POST", "/v1/differences/dif_x/reopen", None),
    )
    for method, path, json in doors:
        options = {"json": json} if json else {}
        assert (await ask(town, method, path, role="supervisor", **options)).status_code == 403
        citizen = {**town.ground.person(PAYER), **key()}
        refused = await town.service.client.request(method, path, headers=citizen, **options)
        assert refused.status_code == 403
        nobody = await town.service.client.request(method, path, headers=key(), **options)
        assert nobody.status_code == 401


async def test_lists_in_pages_and_by_filter(town: Town) -> None:
    page = (await ask(town, "GET", "/v1/reconciliations?limit=1")).json()
    assert [run["day"] for run in page["items"]] == [DAY.isoformat()], "newest first"
    after = (await ask(town, "GET", page["next"])).json()
    assert (after["items"][0]["day"], after["next"]) == (OTHER.isoformat(), None)
    for query, states in (
        ("state=matched", {"matched"}),
        ("state=differs&channel=wechat", {"differs"}),
        ("channel=other", set()),
    ):
        listed = (await ask(town, "GET", f"/v1/reconciliations?{query}")).json()["items"]
        assert {run["state"] for run in listed} == states
    run = page["items"][0]
    assert (await ask(town, "GET", f"/v1/reconciliations/{run['id']}")).json() == run
    path = f"/v1/reconciliations/{run['id']}/differences"
    whole, url = [], f"{path}?limit=3"
    while url:
        found = (await ask(town, "GET", url)).json()
        whole += [row["id"] for row in found["items"]]
        url = found["next"]
    assert len(set(whole)) == len(whole) == 8
    repaired = (await ask(town, "GET", f"{path}?state=repaired")).json()["items"]
    assert {row["type"] for row in repaired} == {"local_not_paid", "refund_local_not_done"}
    (one,) = (await ask(town, "GET", f"{path}?type=missing_local")).json()["items"]
    assert (one["state"], one["finding"], one["books_fen"]) == ("open", "unknown_number", None)
    for path in ("/v1/reconciliations/rec_none", "/v1/reconciliations/rec_none/differences"):
        missing = await ask(town, "GET", path)
        assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


async def test_asking_for_a_day_is_harmless_and_bounded(town: Town) -> None:
    body = {"channel": "wechat", "day": DAY.isoformat()}
    first = await ask(town, "POST", "/v1/reconciliations", json=body)
    again = await ask(town, "POST", "/v1/reconciliations", json=body)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["id"] == again.json()["id"] == (await run_of(town, DAY))["id"]
    assert await town.column("select count(*) from reconciliation where day = :day", day=DAY) == [1]
    for day in (TODAY, TODAY + timedelta(days=1), TODAY - timedelta(days=90)):
        refused = await ask(
            town, "POST", "/v1/reconciliations", json={**body, "day": day.isoformat()}
        )
        assert (refused.status_code, refused.json()["code"]) == (422, "no_bill_yet")
    wrong = await ask(town, "POST", "/v1/reconciliations", json={**body, "channel": "cash"})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid")


async def test_a_person_settles_and_takes_it_back(town: Town) -> None:
    run = (await run_of(town, DAY))["id"]
    path = f"/v1/reconciliations/{run}/differences"
    rows = (await ask(town, "GET", f"{path}?state=open&limit=100")).json()["items"]
    assert len(rows) == 6
    bare = await ask(town, "POST", f"/v1/differences/{rows[0]['id']}/settle", json={"note": " "})
    assert bare.status_code == 422
    for row in rows:
        told = await ask(
            town, "POST", f"/v1/differences/{row['id']}/settle", json={"note": "已与渠道核对。"}
        )
        assert told.status_code == 200, told.text
        settled = told.json()
        assert (settled["state"], settled["outcome"]) == ("settled", "settled")
        assert (settled["ended_by"], settled["note"]) == ("acc_operator", "已与渠道核对。")
    twice = await ask(
        town, "POST", f"/v1/differences/{rows[0]['id']}/settle", json={"note": "再一次"}
    )
    assert (twice.status_code, twice.json()["code"]) == (409, "illegal_move")
    closed = await reviewed(town, DAY)
    gap = sum(row["gap_fen"] for row in rows)
    assert closed["state"] == "closed"
    assert closed["moved_fen"] - closed["booked_fen"] == closed["settled_fen"] == gap
    assert (await reconcile(town, DAY))["state"] == "closed", "the same bill opens nothing again"
    back = await ask(town, "POST", f"/v1/differences/{rows[0]['id']}/reopen")
    assert (back.json()["state"], back.json()["ended_by"]) == ("open", None)
    assert (await reviewed(town, DAY))["state"] == "differs"
    again = await ask(town, "POST", f"/v1/differences/{rows[0]['id']}/reopen")
    assert (again.status_code, again.json()["code"]) == (409, "illegal_move")
    for act in ("settle", "reopen"):
        none = await ask(town, "POST", f"/v1/differences/dif_none/{act}", json={"note": "没有"})
        assert none.status_code == 404
    trail = await town.column(
        "select action from staff_action where things ->> 'difference_id' = :id order by id",
        id=rows[0]["id"],
    )
    assert trail == ["settle_difference", "reopen_difference"]


async def test_the_board_and_the_gauges(town: Town) -> None:
    async with town.runtime.sessions() as session:
        await session.execute(reconciliations.text("select 1"))
        board = await money.board(session)
        await money.measure(session)
    (last,) = board["reconciliations"]
    assert (last["channel"], last["day"]) == ("wechat", DAY.isoformat())
    assert last["lines"] > 0
    types = board["differences_open"]["types"]
    assert board["differences_open"]["count"] == sum(found["count"] for found in types.values())
    assert (board["days_unreconciled"]["count"] > 0) == (last["state"] == "differs")
    told = (await town.service.client.get("/metrics")).text
    for type_, found in types.items():
        line = f'beam_payment_differences_open{{service="payment",type="{type_}"}}'
        assert f"{line} {float(found['count'])}" in told
    assert 'beam_payment_unreconciled_seconds{service="payment"}' in told
    operator = town.ground.staff("operator", "DATA")
    state = (await town.service.client.get("/v1/ops/payment", headers=operator)).json()
    assert state["boards"]["money"].keys() == board.keys()
