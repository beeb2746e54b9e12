"""Somebody else does it: an agent opens a restaurant for a firm, a counter helps a citizen."""

from datetime import timedelta
from typing import Any

from beam.journey import steps
from beam.journey.door import Door
from beam.journey.stage import Stage, until
from beam.journey.steps import CITIZEN, Journey
from kit.clock import now

from .cast import Cast
from .doors import LI, ZHANG, door, mandate
from .story import a_firm


async def drafted(journey: Journey) -> None:
    """A whole draft, by whoever stands at the citizen's door; the first second may say 503."""
    await steps.find_item(journey)
    who = await journey.door(CITIZEN)
    case = await who.post("/v1/cases", {"item_code": steps.ITEM}, status=201)
    journey.facts["case_id"] = case["id"]
    form = {asked["name"]: steps._value(asked) for asked in journey.facts["item"]["form_fields"]}
    match = {"if-match": f'"{case["version"]}"'}
    await who.call("PATCH", f"/v1/cases/{case['id']}", body={"form": form}, headers=match)
    for slot in case["materials"]:
        if slot["state"] == "needed" and slot["necessity"] == "required":
            path = f"/v1/cases/{case['id']}/materials/{slot['id']}"
            await who.call("PUT", path, content=steps.PDF)


async def test_an_agent_opens_a_restaurant_for_a_firm(cast: Cast) -> None:
    firm_id = await a_firm(cast)
    lisi = {"name": "李四", "phone": LI}
    async with door(cast, ZHANG, firm_id) as firm:
        scope = {"item_codes": [steps.ITEM], "max_uses": 1}
        mandate_id = await mandate(cast, firm, lisi, LI, **scope)
        stage = Stage(cast.place)
        journey = Journey(stage)
        async with door(cast, LI, mandate_id) as agent:
            stage.doors[CITIZEN] = agent
            await drafted(journey)
            await steps.submit(journey)
            await steps.accept(journey)
            await steps.review(journey)
            path = f"/v1/cases/{journey.case_id}"

            async def used_up() -> Any:
                return (await firm.get(f"/v1/mandates/{mandate_id}"))["state"] == "used_up"

            await until(used_up, "the mandate was never used up")
            more = await agent.call("POST", "/v1/cases", body={"item_code": "A05"}, status=403)
            assert more.json()["code"] == "mandate_ends_here"
            refused = await agent.call("GET", "/v1/payments", status=403)
            assert refused.json()["code"] == "not_mandated"
            stage.doors[CITIZEN] = firm
            await steps.pay(journey)
            await firm.post(f"/v1/mandates/{mandate_id}/revoke")

            async def ended() -> Any:
                return (await agent.client.get(path, headers=_bearer(agent))).status_code == 401

            await until(ended, "the agent's token was never refused")
        await steps.decide(journey)
        case = await journey.case_in("closed", "delivering")
        assert (case["applicant_id"], case["actor_id"]) == (firm_id, "acc_lisi")
        told = (await firm.get(f"{path}/timeline"))["entries"]
        pair = ("acc_lisi", firm_id)
        by_agent = {e["action"] for e in told if (e["actor"], e["principal"]) == pair}
        assert by_agent == {"open_draft", "submit", "correct"}

        async def mine() -> Any:
            matters = (await firm.get("/v1/me/matters?limit=50"))["items"]
            return [m for m in matters if m["case_id"] == journey.case_id]

        (matter,) = await until(mine, "the matter is not among the firm's")
        assert matter["actor_id"] == "acc_lisi"
        licences = await firm.get("/v1/me/licences")
        assert case["licence_id"] in [licence["id"] for licence in licences["items"]]
        may = (await firm.get("/v1/me/principals"))["items"]
        assert firm_id in [principal["act_for"] for principal in may]
        await stage.close()


async def test_the_counter_helps_a_citizen(cast: Cast) -> None:
    """The citizen confirms on his telephone; what he holds is not asked for; it is written down."""
    async with door(cast, "w01") as counter, door(cast, ZHANG) as citizen:
        asked = {
            "side": "agent",
            "other": {"name": "张三", "phone": ZHANG},
            "valid_until": (now() + timedelta(hours=2)).isoformat(),
        }
        made = await counter.post("/v1/mandates", asked, status=201)
        await citizen.post(f"/v1/mandates/{made['id']}/confirm")
        async with door(cast, "w01", made["id"]) as helping:
            stage = Stage(cast.place)
            journey = Journey(stage)
            stage.doors[CITIZEN] = helping
            await drafted(journey)
            case = await journey.case()
            exempt = [slot["name"] for slot in case["materials"] if slot["state"] == "exempt"]
            assert "营业执照" in exempt
            await steps.submit(journey)
        told = (await citizen.get(f"/v1/cases/{journey.case_id}/timeline"))["entries"]
        assert {(e["actor"], e["dept"], e["principal"]) for e in told} == {
            ("stf_w01", "SAMR", "acc_zhangsan")
        }
        async with cast.database("case") as database:
            trail = await database.fetch(
                "select action from staff_action where actor = 'stf_w01'"
                " and things->>'for' = 'acc_zhangsan' and things->>'case_id' = $1",
                journey.case_id,
            )
        assert "submit_case" in [line["action"] for line in trail]
        await citizen.post(f"/v1/cases/{journey.case_id}/withdraw")
        await stage.close()


def _bearer(who: Door) -> dict[str, str]:
    return {"authorization": f"Bearer {who.token}"}
