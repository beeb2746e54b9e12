"""Call-backs: only what the channel signed counts, once, and only with the right amount."""

import asyncio
import base64
import json
import secrets
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from sandbox import keys

from .conftest import Town


async def charges(town: Town, order_id: str) -> list[int]:
    return await town.column("select amount_fen from charge where order_id = :id", id=order_id)


async def test_twenty_at_once_book_one_payment(town: Town) -> None:
    order_id = await town.order()
    await town.start(order_id)
    transaction = "4200000000000000000000000001"
    notices = [
        await town.notice(order_id, transaction_id=transaction, notice_id=f"same-{order_id}")
        for _ in range(20)
    ]
    answers = await asyncio.gather(*(town.call_back(*notice) for notice in notices))
    assert {answer.status_code for answer in answers} == {204}
    assert await charges(town, order_id) == [8000]
    assert await town.types(order_id) == ["created.v1", "paid.v1"]
    kept = "select notice_id from channel_notice where notice_id = :id"
    assert len(await town.column(kept, id=f"same-{order_id}")) == 1


async def test_the_very_same_bytes_again_change_nothing(town: Town) -> None:
    order_id = await town.order()
    await town.start(order_id)
    notice = await town.notice(order_id)
    assert [(await town.call_back(*notice)).status_code for _ in range(3)] == [204] * 3
    assert await charges(town, order_id) == [8000]


async def test_copies_and_a_signature_test_from_the_channel_itself(town: Town) -> None:
    await town.outside.sim("wechat/notices", copies=5, signtest=True)
    order_id = await town.order()
    await town.pay(await town.start(order_id))
    await town.reaches(order_id, "paid")

    notices = (await town.book(order_id))["notices"]
    while any(row["state"] == "waiting" for row in notices):
        await asyncio.sleep(0.05)
        notices = (await town.book(order_id))["notices"]
    answers = {row["last_answer"] for row in notices if not row["signtest"]}
    tested = {row["last_answer"] for row in notices if row["signtest"]}
    assert (answers, tested) == ({"204"}, {"401"})
    assert await charges(town, order_id) == [8000]


@pytest.mark.parametrize("how", ["tampered", "foreign key", "stale", "no signature", "merchant"])
async def test_what_the_channel_did_not_sign_is_refused(
    town: Town, how: str, tmp_path: Path
) -> None:
    order_id = await town.order()
    await town.start(order_id)
    headers, body = await town.notice(order_id)
    match how:
        case "tampered":
            body = body.replace("支付成功".encode(), "支付失败".encode())
        case "foreign key":
            keys.provision(tmp_path)
            forger = keys.read_wechat(tmp_path).current
            headers["Wechatpay-Signature"] = signature(forger, headers, body)
        case "stale":
            headers["Wechatpay-Timestamp"] = str(int(time.time()) - 600)
            genuine = keys.read_wechat(town.outside.keys).current
            headers["Wechatpay-Signature"] = signature(genuine, headers, body)
        case "no signature":
            headers = {"content-type": "application/json"}
        case _:
            headers, body = await town.notice(order_id, mchid="1900000001")
    answer = await town.call_back(headers, body)
    assert answer.status_code == 401
    assert answer.json()["code"] == "FAIL"
    assert await charges(town, order_id) == []
    assert (await town.get(order_id))["state"] == "pending"


def signature(key: keys.PlatformKey, headers: dict[str, str], body: bytes) -> str:
    stamp, nonce = headers["Wechatpay-Timestamp"], headers["Wechatpay-Nonce"]
    message = b"\n".join([stamp.encode(), nonce.encode(), body, b""])
    return base64.b64encode(key.key.sign(message, PKCS1v15(), SHA256())).decode()


async def test_a_wrong_amount_is_refused_and_the_channel_asked(town: Town) -> None:
    order_id = await town.order()
    attempt = await town.start(order_id)
    told = await town.notice(order_id, amount={"total": 1, "currency": "CNY"})
    answer = await town.call_back(*told)
    assert (answer.status_code, answer.json()["code"]) == (409, "FAIL")
    assert await charges(town, order_id) == []
    await town.pay(attempt)
    assert (await town.reaches(order_id, "paid"))["paid_fen"] == 8000


async def test_a_wrong_amount_for_a_paid_order_changes_nothing(town: Town) -> None:
    await town.outside.sim("wechat/notices", drop=True)
    order_id = await town.order()
    await town.pay(await town.start(order_id))
    [payment] = (await town.book(order_id))["payments"]
    told = await town.notice(
        order_id,
        transaction_id=payment["transaction_id"],
        amount={"total": 7999, "currency": "CNY"},
    )
    # The channel, asked, tells the true amount: that is what is booked.
    assert (await town.call_back(*told)).status_code == 409
    assert await charges(town, order_id) == [8000]
    assert (await town.get(order_id))["state"] == "paid"


async def test_another_currency_is_not_booked(town: Town) -> None:
    order_id = await town.order()
    await town.start(order_id)
    told = await town.notice(order_id, amount={"total": 8000, "currency": "USD"})
    answer = await town.call_back(*told)
    assert answer.status_code == 503
    assert await charges(town, order_id) == []


async def test_a_payment_for_an_unknown_order_is_kept_and_asked_for_again(town: Town) -> None:
    number = secrets.token_hex(16)
    answer = await town.call_back(*town.sign({"out_trade_no": number}))
    assert (answer.status_code, answer.json()["code"]) == (404, "FAIL")
    outcome = "select outcome from channel_notice where about = :number"
    assert await town.column(outcome, number=number) == ["unknown"]


async def test_platform_keys_rotate_under_way(town: Town) -> None:
    order_id = await town.order()
    attempt = await town.start(order_id)
    await town.outside.sim("wechat/rotate", retire=True)
    await town.pay(attempt)
    await town.reaches(order_id, "paid")


async def test_raw_notices_hold_no_open_personal_data(town: Town) -> None:
    order_id = await town.order()
    await town.start(order_id)
    headers, body = await town.notice(order_id, payer={"openid": "o-secret-of-zhangsan"})
    await town.call_back(headers, body)
    kept = await town.column("select convert_from(body, 'utf8') from channel_notice")
    assert all("o-secret-of-zhangsan" not in text for text in kept)
    assert all("ciphertext" in json.loads(text)["resource"] for text in kept)
