"""The steps of 食品经营许可, from sign-in to rating. Each asserts what it must see."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from .door import Door, Failed, expect
from .stage import Durable, Stage, limit, until

ITEM = "A05"
FEE_FEN = 5000
CITIZEN, COUNTER, LEAD, FIRE, OPERATOR = "citizen", "counter", "reviewer", "fire", "operator"
LOGINS = {CITIZEN: "13800000001", COUNTER: "w01", LEAD: "r01", FIRE: "r02", OPERATOR: "o01"}
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"


@dataclass
class Journey:
    """One handling on its way. `facts` collects what later steps and the final report need."""

    stage: Stage
    facts: dict[str, Any] = field(default_factory=dict)

    async def door(self, who: str) -> Door:
        return await self.stage.door(who, LOGINS[who])

    async def clock(self) -> Any:
        """The case's clock as the citizen sees it."""
        citizen = await self.door(CITIZEN)
        self.facts["clock"] = await citizen.get(f"/v1/cases/{self.case_id}/clock")
        return self.facts["clock"]

    @property
    def case_id(self) -> str:
        case_id: str = self.facts["case_id"]
        return case_id

    async def case(self, who: str = CITIZEN) -> Any:
        return await (await self.door(who)).get(f"/v1/cases/{self.case_id}")

    async def case_in(self, *states: str) -> Any:
        async def there() -> Any:
            case = await self.case()
            return case if case["state"] in states else None

        return await until(there, f"the case never came to {states}")


Step = Callable[[Journey], Awaitable[str]]


async def sign_in(journey: Journey) -> str:
    """市民登录(OIDC 授权码 + PKCE)"""
    me = await (await journey.door(CITIZEN)).get("/v1/me")
    return f"{me.get('name', '')} 已登录"


async def find_item(journey: Journey) -> str:
    """用日常用语找到事项"""
    door = journey.stage.open("anyone")
    found = await door.get("/v1/items?q=%E5%BC%80%E9%A5%AD%E5%BA%97&limit=5")
    codes = [item["code"] for item in found["items"]]
    expect(ITEM in codes, f"“开饭店” does not find {ITEM}, only {codes}")
    item = await door.get(f"/v1/items/{ITEM}")
    await door.close()
    journey.facts["item"] = item
    return f"“开饭店” → {item['name']}"


async def open_draft(journey: Journey) -> str:
    """开始办理;政府已有的材料免交"""
    door = await journey.door(CITIZEN)
    case = await door.post("/v1/cases", {"item_code": ITEM, "region": "310115"}, status=201)
    journey.facts["case_id"] = case["id"]
    exempt = [slot["name"] for slot in case["materials"] if slot["state"] == "exempt"]
    expect("营业执照" in exempt, f"the business licence must not be asked for again: {exempt}")
    journey.facts["exempt"] = exempt
    filled = [label for label in ("business_name", "premises_address") if case["form"].get(label)]
    expect(len(filled) == 2, f"name and address stand in the business licence: {case['form']}")
    return f"免交 {len(exempt)} 项:{'、'.join(exempt)};自动填写 {len(case['form'])} 项"


def _value(form_field: dict[str, Any]) -> Any:
    match form_field["type"]:
        case "number" | "integer":
            return 120
        case "boolean":
            return True
        case "enum":
            return form_field["options"][0]["value"]
        case "date":
            return "2026-12-01"
        case "phone":
            return "13800000001"
        case _:
            return "浦江风味餐饮店"


async def fill_in(journey: Journey) -> str:
    """填写表单(自动保存)、地址、上传材料"""
    door = await journey.door(CITIZEN)
    # The address book has room for 20: who was here before takes the address that is there.
    book = await door.get("/v1/addresses")
    address = {"name": "张三", "mobile": "13800000001", "street": "合欢路100号1201室"}
    kept = book[0] if book else await door.post("/v1/addresses", address, status=201)
    case = await journey.case()
    fields = journey.facts["item"]["form_fields"]
    version = case["version"]
    for form_field in fields:
        change = {"form": {form_field["name"]: _value(form_field)}}
        match = {"if-match": f'"{version}"'}
        saved = await door.call("PATCH", f"/v1/cases/{case['id']}", body=change, headers=match)
        version = saved.json()["version"]
    stale = {"if-match": f'"{version - 1}"'}
    await door.call(
        "PATCH", f"/v1/cases/{case['id']}", body={"form": {}}, headers=stale, status=412
    )
    delivery = {"delivery": "courier", "address_id": kept["id"]}
    match = {"if-match": f'"{version}"'}
    await door.call("PATCH", f"/v1/cases/{case['id']}", body=delivery, headers=match)
    uploads = 0
    for slot in case["materials"]:
        if slot["state"] == "needed" and slot["necessity"] == "required":
            await door.call("PUT", f"/v1/cases/{case['id']}/materials/{slot['id']}", content=PDF)
            uploads += 1
    return f"{len(fields)} 个字段逐项保存,上传 {uploads} 份材料"


async def submit(journey: Journey) -> str:
    """提交;同一 Idempotency-Key 重试不会重复"""
    door = await journey.door(CITIZEN)
    headers = {"idempotency-key": f"submit-{journey.case_id}"}
    path = f"/v1/cases/{journey.case_id}/submit"
    first = await door.call("POST", path, headers=headers)
    again = await door.call("POST", path, headers=headers)
    expect(again.headers.get("idempotent-replayed") == "true", "a repeated submit is a replay")
    expect(first.content == again.content, "a replay gives the same answer")
    journey.facts["number"] = first.json()["number"]
    return f"办件编号 {journey.facts['number']}"


async def accept(journey: Journey) -> str:
    """窗口受理,时限开始计算"""
    counter = await journey.door(COUNTER)
    case = await counter.post(f"/v1/cases/{journey.case_id}/accept")
    expect(case["state"] == "in_review", f"accepted cases are in review, not {case['state']}")
    clock = await journey.clock()
    expect(clock["state"] == "running", "the clock runs from acceptance on")
    return f"承诺 {limit(clock, 'promised')},至 {clock['promised_due']}"


async def _task(door: Door, case: dict[str, Any], dept: str) -> str:
    task = next(task for task in case["tasks"] if task["dept"] == dept)
    await door.post(f"/v1/tasks/{task['id']}/claim")
    return str(task["id"])


async def review(journey: Journey) -> str:
    """两部门并联审查;消防要求补正,时钟暂停、补正后继续"""
    lead, fire = await journey.door(LEAD), await journey.door(FIRE)
    citizen = await journey.door(CITIZEN)
    case = await journey.case()
    lead_task, fire_task = await asyncio.gather(
        _task(lead, case, "SAMR"), _task(fire, case, "FIRE")
    )
    ask = {"kind": "incomplete", "what": "请补充厨房排烟管道的布置说明。"}
    agree = {"outcome": "approved", "opinion": "材料齐全,符合条件。"}
    await asyncio.gather(
        lead.post(f"/v1/tasks/{lead_task}/decide", agree),
        fire.post(f"/v1/tasks/{fire_task}/request-correction", ask, status=201),
    )
    clock = await journey.clock()
    expect(clock["state"] == "paused", f"a correction stops the clock, it is {clock['state']}")
    case = await journey.case()
    expect(case["turn"] == "applicant", "it is the applicant's turn")
    slot = next(slot for slot in case["materials"] if slot["state"] == "uploaded")
    await citizen.call(
        "PUT", f"/v1/cases/{journey.case_id}/materials/{slot['id']}", content=PDF + b"%2\n"
    )
    await citizen.post(f"/v1/cases/{journey.case_id}/correct")
    clock = await journey.clock()
    expect(clock["state"] == "running", "after the answer the clock runs again")
    await fire.post(f"/v1/tasks/{fire_task}/decide", agree)
    case = await journey.case_in("fee_due")
    return "市场监管、消防均同意;补正 1 次"


async def pay(journey: Journey) -> str:
    """微信支付 v3 Native 扫码缴费"""
    citizen = await journey.door(CITIZEN)

    async def due() -> Any:
        return (await citizen.get(f"/v1/payments?case_id={journey.case_id}"))["items"]

    (payment,) = await until(due, "no payment order for the fee")
    expect(payment["amount_fen"] == FEE_FEN, f"the fee is {FEE_FEN} fen")
    path = f"/v1/payments/{payment['id']}"
    attempt = await citizen.post(f"{path}/attempts", {"channel": "wechat_native"}, status=201)

    async def code() -> Any:
        if attempt.get("code_url"):
            return attempt["code_url"]
        again = await citizen.get(path)
        return (again.get("attempt") or {}).get("code_url")

    code_url = await until(code, "no code to scan")
    await journey.stage.simulate("/_sim/wechat/pay", {"code_url": code_url})

    async def paid() -> Any:
        return (await citizen.get(path))["state"] == "paid"

    await until(paid, "the payment was never booked as paid")
    journey.facts["payment_id"] = payment["id"]
    await journey.case_in("deciding")
    return f"{FEE_FEN / 100:.2f} 元已到账"


async def decide(journey: Journey) -> str:
    """牵头部门作出许可决定"""
    lead = await journey.door(LEAD)
    await lead.post(f"/v1/cases/{journey.case_id}/decide", {"outcome": "approved"})
    clock = await journey.clock()
    expect(clock["state"] == "stopped", "the decision stops the clock")
    return "准予许可"


async def reject(journey: Journey) -> str:
    """牵头部门不予许可(已缴费)"""
    lead = await journey.door(LEAD)
    reason = {
        "outcome": "rejected",
        "reason_code": "not_eligible",
        "reason": "现场核查不符合经营场所要求。",
    }
    case = await lead.post(f"/v1/cases/{journey.case_id}/decide", reason)
    expect(case["outcome"] == "rejected", "the case is rejected")
    return "不予许可,说明了理由"


async def refunded(journey: Journey) -> str:
    """费用原路退回,账目平衡"""
    citizen = await journey.door(CITIZEN)
    path = f"/v1/payments/{journey.facts['payment_id']}"

    async def done() -> Any:
        return (await citizen.get(path))["state"] == "refunded"

    await until(done, "the fee was not refunded")
    await balanced(journey)
    return f"{FEE_FEN / 100:.2f} 元已退回"


async def balanced(journey: Journey) -> None:
    operator = await journey.door(OPERATOR)
    balance = await operator.get("/v1/ledger/balance")
    expect(balance["total_fen"] == 0, f"the ledger does not balance: {balance}")


async def show_licence(journey: Journey) -> str:
    """电子证照签发;亮证二维码核验通过,只能用一次"""
    citizen = await journey.door(CITIZEN)

    async def issued() -> Any:
        return (await journey.case())["licence_id"]

    licence_id = await until(issued, "no licence was issued")
    licence = await citizen.get(f"/v1/licences/{licence_id}")
    shown = await citizen.post(
        f"/v1/licences/{licence_id}/present", {"purpose": "开业检查"}, status=201
    )
    expect("<svg" in shown["qr_svg"], "the presentation has a QR code")
    verifier = journey.stage.open("verifier")
    first = await verifier.post("/v1/verify", {"token": shown["token"]})
    expect(first["accepted"] is True, f"a fresh presentation is accepted: {first}")
    second = await verifier.post("/v1/verify", {"token": shown["token"]})
    expect(second["accepted"] is False, "a presentation serves once")
    await verifier.close()
    journey.facts["licence_number"] = licence["number"]
    return f"{licence['number']} 核验通过"


async def courier(journey: Journey) -> str:
    """顺丰寄送,跟踪到签收"""
    citizen = await journey.door(CITIZEN)

    async def placed() -> Any:
        items = (await citizen.get(f"/v1/shipments?case_id={journey.case_id}"))["items"]
        return next((line for line in items if line["waybill_no"]), None)

    shipment = await until(placed, "no shipment was placed")
    for step in ("picked_up", "out_for_delivery", "delivered"):
        body = {"waybill_no": shipment["waybill_no"], "to": step}
        await journey.stage.simulate("/_sim/sf/advance", body)

    async def arrived() -> Any:
        told = await citizen.get(f"/v1/shipments/{shipment['id']}")
        return told if told["state"] == "delivered" else None

    told = await until(arrived, "the parcel was not delivered")
    await journey.case_in("closed")
    return f"{shipment['waybill_no']} 已签收,{len(told['tracks'])} 条轨迹"


async def rate(journey: Journey) -> str:
    """邀请评价并完成好差评"""
    citizen = await journey.door(CITIZEN)

    async def invited() -> Any:
        items = (await citizen.get(f"/v1/ratings?case_id={journey.case_id}"))["items"]
        return items[0] if items else None

    invitation = await until(invited, "no invitation to rate")
    body = {"score": 5, "comment": "材料免交,很方便。"}
    rating = await citizen.post(f"/v1/ratings/{invitation['id']}/submit", body)
    expect(rating["state"] == "rated", "the rating counts")
    await citizen.post(f"/v1/ratings/{invitation['id']}/submit", body, status=409)
    return "非常满意 ★★★★★"


APPROVED = [
    "case.submitted.v1",
    "case.accepted.v1",
    "case.correction_requested.v1",
    "case.corrected.v1",
    "case.fee_due.v1",
    "payment.created.v1",
    "payment.paid.v1",
    "case.decided.v1",
    "licence.issued.v1",
    "logistics.shipment_placed.v1",
    "logistics.shipment_picked_up.v1",
    "logistics.shipment_delivered.v1",
    "case.closed.v1",
    "helpdesk.rating_invited.v1",
    "helpdesk.rating_submitted.v1",
]
TASKS = {"case.task_assigned.v1", "case.task_decided.v1"}


def check_departments(journey: Journey, lead: Durable, fire: Durable, wanted: list[str]) -> str:
    """Raises Failed while something is missing; foreign events fail for good."""
    case_id = journey.case_id
    kinds = [event["type"].removeprefix("cn.beam.") for event in lead.of_case(case_id)]
    missing = [kind for kind in wanted if kind not in kinds]
    expect(not missing, f"the lead department missed {missing}")
    others = {event["dept"] for event in lead.events} - {"SAMR"}
    others |= {event["dept"] for event in fire.events} - {"FIRE"}
    expect(not others, f"events of other departments came through: {others}")
    fire_kinds = {event["type"].removeprefix("cn.beam.") for event in fire.of_case(case_id)}
    expect(fire_kinds == TASKS, f"fire sees its tasks and nothing else: {fire_kinds}")
    return f"牵头部门收到 {len(kinds)} 条,消防 {len(fire.of_case(case_id))} 条,无越权"


async def departments(journey: Journey, lead: Durable, fire: Durable, wanted: list[str]) -> str:
    """部门持久订阅与交换流收到全部事件,互不可见"""
    trouble: Failed | None = None

    async def complete() -> Any:
        nonlocal trouble
        try:
            return check_departments(journey, lead, fire, wanted)
        except Failed as failure:
            trouble = failure
            return None

    try:
        sentence = await until(complete, "departments", seconds=20)
    except Failed:
        raise trouble or Failed("departments") from None
    operator = await journey.door(OPERATOR)
    feed: list[Any] = []
    after = 0
    while True:
        page = await operator.get(f"/v1/events?after={after}&limit=100")
        feed += [e for e in page["events"] if e["data"].get("case_id") == journey.case_id]
        if not page["events"]:
            break
        after = page["last"]
    kinds = {event["type"].removeprefix("cn.beam.") for event in feed}
    expect(kinds >= {*wanted, *TASKS}, f"the feed lacks {({*wanted, *TASKS}) - kinds}")
    return str(sentence)
