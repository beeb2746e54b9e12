"""Who read my data: staff of other services appear by department, never by name."""

from contracts.reads import CaseDataRead, LicenceDataRead, PaymentDataRead, ShipmentDataRead
from kit.ids import new_id

from .conftest import House, bearer


async def test_reads_of_other_services_are_shown(house: House) -> None:
    owner = bearer(await house.signed_in("13800000002"))
    case_id = new_id("case")
    read = CaseDataRead(
        account_id="acc_lisi",
        reader_id="stf_r01",
        reader_dept="SAMR",
        kind="material",
        object_id=case_id,
        purpose="review",
    )
    ran = await house.running.hear(read, times=2, subject="read_1", version=1)
    assert ran == 1, "the second delivery does nothing"
    answer = await house.http.get("/v1/me/access-log", headers=owner)
    (line,) = answer.json()["items"]
    at, line_id = line.pop("at"), line.pop("id")
    assert at
    assert line_id
    assert line == {
        "reader": "SAMR",
        "dept": "SAMR",
        "dept_name": "上海市市场监督管理局",
        "kind": "material",
        "kind_name": "办件材料",
        "kind_name_en": "Material of a case",
        "object_id": case_id,
        "purpose": "review",
        "purpose_name": "审批",
        "purpose_name_en": "Review",
        "fields": [],
    }
    assert "stf_r01" not in answer.text
    others = await house.http.get("/v1/me/access-log", headers=bearer(await house.signed_in()))
    assert case_id not in others.text


async def test_every_service_is_heard(house: House) -> None:
    owner = bearer(await house.signed_in("13800000002"))
    for event, kind in (
        (LicenceDataRead, "licence"),
        (PaymentDataRead, "payment"),
        (ShipmentDataRead, "shipment"),
    ):
        for account in ("acc_lisi", "acc_not_ours"):
            read = event(
                account_id=account,
                reader_id="stf_s01",
                reader_dept="SAMR",
                kind=kind,
                object_id=new_id("thing"),
                purpose="supervision",
            )
            subject = new_id("read")
            assert await house.running.hear(read, subject=subject, version=1) == 1
    lines = (await house.http.get("/v1/me/access-log", headers=owner)).json()["items"]
    assert [line["kind_name"] for line in lines][:3] == ["寄递", "缴款", "电子证照"]
