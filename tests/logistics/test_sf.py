"""The SF adapter: the digest by its vectors, the rest against the simulator over a real wire."""

import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logistics_svc.carriers import (
    BadPush,
    Contact,
    PaidBy,
    Parcel,
    Refused,
    Track,
    TrackStatus,
    Unknown,
)
from logistics_svc.carriers.sf import OP_CODES, SF, Account, msg_digest
from sandbox.testing import Call, Listener, Reply, Sandbox, free_port, listening, sandbox

OFFICE = Contact("窗口", "13900000001", "上海市", "上海市", "浦东新区", "合欢路2号")
HOME = Contact("张三", "13900000002", "上海市", "上海市", "浦东新区", "A'座(1~2)!*栋")

OFFLINE = SF(base_url="http://x", account=Account("p", "w", "", "t"), client=httpx.AsyncClient())


@pytest.fixture(scope="module")
def push_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
async def outside(
    tmp_path_factory: pytest.TempPathFactory, push_port: int
) -> AsyncIterator[Sandbox]:
    url = f"http://127.0.0.1:{push_port}/callbacks/sf/"
    async with sandbox(tmp_path_factory.mktemp("outside"), sf_push_url=url) as running:
        yield running


def take(_: Call) -> Reply:
    return 200, b'{"return_code":"0000"}'


@pytest.fixture
async def listener(push_port: int) -> AsyncIterator[Listener]:
    async with listening(take, push_port) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


@pytest.fixture
def sf(outside: Sandbox, http: httpx.AsyncClient) -> SF:
    return build(outside, http)


def build(outside: Sandbox, http: httpx.AsyncClient, timeout: float = 8) -> SF:
    account = Account.load(outside.keys / "sf")
    return SF(base_url=outside.url, account=account, client=http, timeout=timeout)


def parcel(mobile: str = HOME.mobile, **more: object) -> Parcel:
    receiver = replace(HOME, mobile=mobile)
    return replace(Parcel(uuid.uuid4().hex, OFFICE, receiver, "许可证"), **more)  # type: ignore[arg-type]


def test_digest_vectors() -> None:
    text = '{"language":"zh-CN","orderId":"QIAO-20200618-004"}'
    word = "fjcg5PGKaNpPSHFAZ4QsCOkV71R3zVci"
    assert msg_digest(text, "12312334453453", word) == "IIKJtuLVzoFTu4kHI8M8vA=="
    text = """{"address":"南山区科技园 A'座(1~2)!*栋","t":"2026-09-05 17:01:48"}"""
    assert msg_digest(text, "1700000000000", "TEST_CHECKWORD") == "U0MBO21rCI4QF5WIkSeHwQ=="


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_the_simulators_digest_is_written_apart_and_agrees(text: str) -> None:
    """Java's URLEncoder by its definition: letters, digits and .-*_ stay, a space becomes +."""
    import base64
    import hashlib

    keep = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-*_"
    java = "".join(
        c if c in keep else "+" if c == " " else "".join(f"%{b:02X}" for b in c.encode())
        for c in text + "1" + "w"
    )
    expected = base64.b64encode(hashlib.md5(java.encode()).digest()).decode()
    assert msg_digest(text, "1", "w") == expected


async def test_placing_is_repeatable(sf: SF) -> None:
    sent = parcel()
    assert await sf.find(sent.order_no) is None
    placed = await sf.place(sent)
    assert placed.order_no == sent.order_no
    assert placed.waybill_no[:2] == "SF"
    assert len(placed.waybill_no) == 15
    assert placed.waybill_no[2:].isdigit()
    assert await sf.place(sent) == placed
    assert await sf.find(sent.order_no) == placed


async def test_a_handover_against_the_id_card(outside: Sandbox, sf: SF) -> None:
    sent = parcel(holder_id_last8="1231002X", paid_by=PaidBy.RECEIVER)
    await sf.place(sent)
    (row,) = [o for o in (await outside.book("sf"))["orders"] if o["order_id"] == sent.order_no]
    assert row["special_delivery"] == "1"
    with pytest.raises(Refused) as refused:
        await sf.place(parcel(holder_id_last8="12X"))
    assert refused.value.code == "8196"


async def test_a_cancelled_order_stays_cancelled(outside: Sandbox, sf: SF) -> None:
    sent = parcel()
    await sf.place(sent)
    await sf.cancel(sent.order_no)
    await sf.cancel(sent.order_no)
    found = await sf.find(sent.order_no)
    assert found is not None
    assert found.cancelled
    assert (await sf.place(sent)).cancelled
    with pytest.raises(httpx.HTTPStatusError):
        await outside.sim("sf/advance", order_id=sent.order_no, to="picked_up")


async def test_what_the_courier_has_cannot_be_cancelled(
    outside: Sandbox, sf: SF, listener: Listener
) -> None:
    sent = parcel()
    await sf.place(sent)
    await outside.sim("sf/advance", order_id=sent.order_no, to="picked_up")
    with pytest.raises(Refused):
        await sf.cancel(sent.order_no)
    with pytest.raises(Refused):
        await sf.cancel("never-placed")


async def test_wrong_check_word_and_unknown_partner(
    outside: Sandbox, http: httpx.AsyncClient
) -> None:
    ours = Account.load(outside.keys / "sf")
    for account, code in (
        (replace(ours, check_word="wrong"), "A1006"),
        (replace(ours, partner_id="NOBODY"), "A1004"),
    ):
        sf = SF(base_url=outside.url, account=account, client=http)
        with pytest.raises(Refused) as refused:
            await sf.place(parcel())
        assert refused.value.code == code


@pytest.mark.parametrize("kind", ["500", "timeout"])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_an_unknown_outcome_is_resolved_by_asking(
    outside: Sandbox, http: httpx.AsyncClient, kind: str, moment: str
) -> None:
    sf, sent = build(outside, http, timeout=0.7), parcel()
    await outside.sim("sf/faults", call="EXP_RECE_CREATE_ORDER", kind=kind, moment=moment)
    with pytest.raises(Unknown):
        await sf.place(sent)
    found = await sf.find(sent.order_no)
    assert (found is not None) == (moment == "after")
    placed = await sf.place(sent)
    assert found in (None, placed)


async def test_magic_numbers(outside: Sandbox, http: httpx.AsyncClient, listener: Listener) -> None:
    sf = build(outside, http, timeout=2)
    with pytest.raises(Refused) as refused:
        await sf.place(parcel("13800000014"))
    assert refused.value.code == "FILTERED"
    sent = parcel("13800000015")
    with pytest.raises(Unknown):
        await sf.place(sent)
    assert await sf.find(sent.order_no) is not None
    ends = {
        "13800000011": (TrackStatus.DELIVERED, 4),
        "13800000012": (TrackStatus.LOST, 3),
        "13800000013": (TrackStatus.RETURNED, 4),
    }
    for mobile, (end, count) in ends.items():
        placed = await sf.place(parcel(mobile))
        tracks = await told(sf, listener, placed.waybill_no, count)
        steps = [t.status for t in sorted(tracks, key=lambda t: t.happened_at)]
        assert steps[:2] == [TrackStatus.PICKED_UP, TrackStatus.IN_TRANSIT]
        assert steps[-1] is end
    for waybill, end in (
        ("SF0000000000001", TrackStatus.DELIVERED),
        ("SF0000000000002", TrackStatus.LOST),
    ):
        assert (await sf.tracks([waybill]))[-1].status is end


async def told(sf: SF, listener: Listener, waybill_no: str, count: int) -> list[Track]:
    """What was pushed of one parcel, once it is `count` routes; repetitions included."""
    calls = 1
    while True:
        seen = [t for c in await listener.wait(calls) for t in sf.read_push(c.body)]
        tracks = [t for t in seen if t.waybill_no == waybill_no]
        if len(tracks) >= count:
            return tracks
        calls = len(listener.calls) + 1


async def test_pushes_and_look_up_tell_the_same(
    outside: Sandbox, sf: SF, listener: Listener
) -> None:
    placed = await sf.place(parcel())
    await outside.sim("sf/pushes", copies=1, reverse=True)
    await outside.sim("sf/advance", waybill_no=placed.waybill_no, to="out_for_delivery")
    await outside.sim("sf/advance", waybill_no=placed.waybill_no, to="delivered")
    tracks = await told(sf, listener, placed.waybill_no, 7)
    token = Account.load(outside.keys / "sf").push_token
    assert {call.path for call in listener.calls} == {f"/callbacks/sf/{token}"}
    assert len(tracks) == 7
    once = {track.key: track for track in tracks}
    journey = sorted(once.values(), key=lambda t: (t.happened_at, t.key))
    asked = await sf.tracks([placed.waybill_no])
    assert [t.key for t in journey] == [t.key for t in asked]
    assert [t.status for t in asked] == [
        TrackStatus.PICKED_UP,
        TrackStatus.IN_TRANSIT,
        TrackStatus.OUT_FOR_DELIVERY,
        TrackStatus.DELIVERED,
    ]
    assert {t.order_no for t in tracks} == {placed.order_no}
    with pytest.raises(httpx.HTTPStatusError):
        await outside.sim("sf/advance", waybill_no=placed.waybill_no, to="lost")


async def test_a_push_is_repeated_until_it_is_taken_and_survives_a_kill(
    outside: Sandbox, sf: SF, listener: Listener
) -> None:
    listener.reply = lambda _: (200, sf.not_accepted()[1])
    placed = await sf.place(parcel())
    await outside.sim("sf/advance", waybill_no=placed.waybill_no, to="picked_up")
    await told(sf, listener, placed.waybill_no, 1)
    outside.kill()
    seen = len(await told(sf, listener, placed.waybill_no, 1))
    await outside.start()
    listener.reply = lambda _: (200, sf.accepted()[1])
    tracks = await told(sf, listener, placed.waybill_no, seen + 1)
    assert len({t.key for t in tracks}) == 1
    assert (await sf.find(placed.order_no)) == placed


def test_times_codes_and_keys_of_a_push() -> None:
    row = {
        "mailno": "SF1", "orderid": "o1", "id": "1", "opCode": "80", "remark": "签收",
        "acceptTime": "2026-11-22 08:00:00", "acceptAddress": "上海市",
    }  # fmt: skip
    other = {**row, "opCode": "9999", "id": "2"}
    coarse = {**row, "opCode": "9998", "secondaryStatusCode": "301"}
    body = json.dumps({"Body": {"WaybillRoute": [row, {**row, "id": "7"}, other, coarse]}})
    tracks = {t.code: t for t in OFFLINE.read_push(body.encode())}
    assert tracks["80"].happened_at == datetime(2026, 11, 22, 0, 0, tzinfo=UTC)
    assert tracks["80"].status is TrackStatus.DELIVERED
    assert (tracks["9999"].status, tracks["9999"].recognised) == (TrackStatus.IN_TRANSIT, False)
    assert tracks["9998"].status is TrackStatus.OUT_FOR_DELIVERY
    assert len({t.key for t in OFFLINE.read_push(body.encode())}) == 3
    assert set(OP_CODES.values()) <= set(TrackStatus)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
)


@given(JSON | st.builds(lambda rows: {"Body": {"WaybillRoute": rows}}, JSON), st.binary())
def test_junk_is_a_bad_push(told: object, raw: bytes) -> None:
    for body in (json.dumps(told).encode(), raw):
        try:
            assert OFFLINE.read_push(body) == []
        except BadPush:
            continue


def test_nothing_personal_is_shown_by_repr() -> None:
    shown = repr(parcel(holder_id_last8="1231002X"))
    assert not any(secret in shown for secret in ("张三", "139000", "栋", "1231002X"))
