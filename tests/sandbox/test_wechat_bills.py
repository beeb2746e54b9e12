"""WeChat Pay's bills: when they are there, what stands in them, who may fetch them."""

import gzip
import hashlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest

from payment_svc.channels.wechat_keys import authorization
from payment_svc.channels.wechat_wire import Merchant
from sandbox import keys
from sandbox.book import Book
from sandbox.keys import WeChatSide
from sandbox.testing import Sandbox, sandbox
from sandbox.wechat import bills
from sandbox.wechat.wire import WireError

from .test_wechat_conformance import order, refund, sdk

TODAY = datetime.now(bills.BEIJING).date()
HOST = "http://127.0.0.1:8090"


@pytest.fixture(scope="module")
async def outside(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    async with sandbox(tmp_path_factory.mktemp("outside")) as running:
        yield running


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    opened = Book(tmp_path / "book")
    yield opened
    opened.close()


@pytest.fixture
def side(tmp_path: Path) -> WeChatSide:
    keys.provision(tmp_path / "keys")
    return keys.read_wechat(tmp_path / "keys")


def code(book: Book, side: WeChatSide, at: datetime, **asked: str) -> str:
    """The error that asking for a bill at a moment ends in."""
    with pytest.raises(WireError) as refused:
        bills.apply(book, side, asked, HOST, now=at.timestamp())
    assert refused.value.status == 400
    return refused.value.code


def noon(day: str) -> datetime:
    return datetime.fromisoformat(f"{day}T12:00:00+08:00")


def test_a_bill_is_there_from_ten_the_next_morning_for_three_months(
    book: Book, side: WeChatSide
) -> None:
    day = {"bill_date": "2026-03-10"}
    assert code(book, side, noon("2026-03-09"), **day) == "INVALID_REQUEST"
    assert code(book, side, noon("2026-03-10"), **day) == "INVALID_REQUEST"
    at_ten = datetime.fromisoformat("2026-03-11T10:00:00+08:00")
    assert code(book, side, at_ten - timedelta(seconds=1), **day) == "STATEMENT_CREATING"
    assert code(book, side, at_ten, **day) == "NO_STATEMENT_EXIST"
    assert code(book, side, noon("2026-06-10"), **day) == "NO_STATEMENT_EXIST"
    assert code(book, side, noon("2026-06-11"), **day) == "INVALID_REQUEST"
    # May has no 31 February.
    assert code(book, side, noon("2026-05-31"), bill_date="2026-02-28") == "NO_STATEMENT_EXIST"


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"bill_date": "20260310"},
        {"bill_date": "2026-3-10"},
        {"bill_date": "2026-02-30"},
        {"bill_date": "２０２６-03-10"},
        {"bill_date": "2026-03-10", "bill_type": "all"},
        {"bill_date": "2026-03-10", "tar_type": "ZIP"},
    ],
)
def test_what_is_asked_wrongly(book: Book, side: WeChatSide, asked: dict[str, str]) -> None:
    assert code(book, side, noon("2026-03-12"), **asked) == "PARAM_ERROR"


def test_an_address_is_good_for_five_minutes(book: Book, side: WeChatSide) -> None:
    seed(book, "2026-03-10")
    now = noon("2026-03-12").timestamp()
    given = bills.apply(book, side, {"bill_date": "2026-03-10"}, HOST, now=now)
    token = given["download_url"].rpartition("token=")[2]
    content = bills.download(book, token, now=now + 299)
    assert hashlib.sha1(content, usedforsecurity=False).hexdigest() == given["hash_value"]
    for wrong, later in ((token, 300), (token + "x", 0), ("", 0)):
        with pytest.raises(WireError):
            bills.download(book, wrong, now=now + later)


def seed(book: Book, day: str) -> None:
    """A payment in the first and one in the last second of a day, one on either side; of the
    first one refund that ended at once and one that ended after the bill was made."""
    begin = datetime.fromisoformat(f"{day}T00:00:00+08:00").timestamp()
    with book.act() as db:
        for number, at in zip("abcd", (-1, 0, 86_399, 86_400), strict=True):
            db.execute(
                "INSERT INTO wechat_orders"
                " VALUES (?,'{}',1234,'工本费,甲','附,言','',?,?,'REFUND',?)",
                (f"order-{number}", begin, number, begin),
            )
            db.execute(
                "INSERT INTO wechat_payments VALUES (?,?,1234,'openid',?)",
                (f"420{number}", f"order-{number}", begin + at),
            )
        for number, done in (("r1", begin + 60), ("r2", begin + 86_400 + 10 * 3600)):
            db.execute(
                "INSERT INTO wechat_refunds VALUES"
                " (?,?,'{}','420b','order-b',17,1234,'SUCCESS',NULL,?,NULL,?)",
                (number, f"503{number}", begin + 30, done),
            )


def test_what_stands_in_a_bill(book: Book, side: WeChatSide) -> None:
    seed(book, "2026-03-10")

    def lines(kind: str) -> list[dict[str, str]]:
        now = noon("2026-03-20").timestamp()
        given = bills.apply(
            book, side, {"bill_date": "2026-03-10", "bill_type": kind}, HOST, now=now
        )
        content = bills.download(book, given["download_url"].rpartition("token=")[2], now=now)
        assert content.startswith(b"\xef\xbb\xbf")
        head, *rows, sum_head, sums, end = content.decode("utf-8-sig").split("\r\n")
        assert end == ""
        assert sums.startswith(f"`{len(rows)},`")
        told = [
            dict(zip(head.split(","), row[1:].split(",`"), strict=True)) for row in [*rows, sums]
            if len(row.split(",`")) == len(head.split(","))
        ]  # fmt: skip
        assert len(told) == len(rows)
        return [*told, dict(zip(sum_head.split(","), sums[1:].split(",`"), strict=True))]

    *paid, sums = lines("SUCCESS")
    assert [(one["商户订单号"], one["交易时间"]) for one in paid] == [
        ("order-b", "2026-03-10 00:00:00"),
        ("order-c", "2026-03-10 23:59:59"),
    ]
    assert paid[0]["商品名称"] == "工本费\\ 甲", "a comma would part the field"
    assert paid[0]["订单金额"] == "12.34"
    assert (sums["总交易单数"], sums["订单总金额"]) == ("2", "24.68")
    *back, sums = lines("REFUND")
    assert [(one["商户退款单号"], one["退款状态"], one["订单金额"]) for one in back] == [
        ("r1", "SUCCESS", "0.00"),
        ("r2", "PROCESSING", "0.00"),
    ], "a state is told as of nine the next morning"
    assert sums["申请退款总金额"] == "0.34"
    *both, sums = lines("ALL")
    assert len(both) == 4
    assert (sums["订单总金额"], sums["退款总金额"]) == ("24.68", "0.34")


async def test_somebody_elses_client_fetches_a_bill(outside: Sandbox, tmp_path: Path) -> None:
    client = sdk(outside, tmp_path)
    client.pay(**order("conform-bill", 1000))
    await outside.sim("wechat/pay", out_trade_no="conform-bill")
    client.refund(**refund("conform-bill", "conform-back", 1, 1000))
    status, text = client.trade_bill(TODAY.isoformat())
    assert (status, json.loads(text)["code"]) == (400, "INVALID_REQUEST")
    await outside.sim("wechat/bills/days", day=TODAY.isoformat(), state="creating")
    assert json.loads(client.trade_bill(TODAY.isoformat())[1])["code"] == "STATEMENT_CREATING"
    await outside.sim("wechat/bills/days", day=TODAY.isoformat(), state="ready")
    status, text = client.trade_bill(TODAY.isoformat())
    assert status == 200
    status, content = client.download_bill(json.loads(text)["download_url"])
    assert status == 200
    plain = gzip.decompress(content)
    assert hashlib.sha1(plain, usedforsecurity=False).hexdigest() == json.loads(text)["hash_value"]
    assert "conform-bill" in plain.decode()
    assert "conform-back" in plain.decode()


async def test_a_file_is_given_to_its_merchant_alone(outside: Sandbox) -> None:
    merchant = Merchant.load(outside.keys / "wechat")
    await outside.sim("wechat/bills/add", day=TODAY.isoformat(), out_trade_no="foreign", amount=5)
    await outside.sim("wechat/bills/days", day=TODAY.isoformat(), state="ready")

    async with httpx.AsyncClient(base_url=outside.url, trust_env=False) as http:

        async def get(target: str, signed: str) -> httpx.Response:
            header = authorization(
                merchant.mchid, merchant.serial_no, merchant.private_key, "GET",
                signed.encode(), b"", time.time(),
            )  # fmt: skip
            headers = {"Authorization": header, "Accept": "application/json"}
            return await http.get(target, headers=headers)

        asked = f"/v3/bill/tradebill?bill_date={TODAY}&bill_type=SUCCESS"
        assert (await get(asked, "/v3/bill/tradebill")).status_code == 401
        given = await get(asked, asked)
        assert given.status_code == 200
        assert "Wechatpay-Signature" in given.headers
        target = given.json()["download_url"].removeprefix(outside.url)
        assert (await http.get(target)).status_code == 401
        assert (await get(target, target.partition("?")[0])).status_code == 401
        assert (await get(target + "x", target + "x")).status_code == 400
        answer = await get(target, target)
        assert answer.status_code == 200
        assert "Wechatpay-Signature" not in answer.headers, "WeChat Pay does not sign files"
        assert "foreign" in answer.text
        await outside.sim("wechat/faults", call="download", kind="500")
        assert (await get(target, target)).status_code == 500


async def test_bills_are_falsified_by_hand(outside: Sandbox) -> None:
    """Left out, altered, added; and the truth again."""
    day = (TODAY - timedelta(days=3)).isoformat()
    at = bills.moment_of(TODAY - timedelta(days=3)) + 3600
    paid = [
        {
            "out_trade_no": f"seeded-{n}",
            "transaction_id": f"42seeded{n}",
            "total": 100,
            "paid_at": at,
        }
        for n in range(3)
    ]
    back = {
        "out_refund_no": "seeded-back", "refund_id": "503seeded", "transaction_id": "42seeded2",
        "out_trade_no": "seeded-2", "amount": 40, "total": 100, "created_at": at + 1,
    }  # fmt: skip
    await outside.sim("wechat/bills/seed", payments=paid, refunds=[back])
    await outside.sim("wechat/bills/drop", day=day, number="seeded-0")
    await outside.sim("wechat/bills/alter", day=day, number="42seeded1", amount=77)
    await outside.sim("wechat/bills/alter", day=day, number="seeded-back", state="FAIL")
    await outside.sim("wechat/bills/add", day=day, out_trade_no="nobodys", amount=9)

    def told() -> list[tuple[str, str, str]]:
        book = Book(outside.folder / "data")
        try:
            side = keys.read_wechat(outside.keys)
            given = bills.apply(book, side, {"bill_date": day}, HOST)
            content = bills.download(book, given["download_url"].rpartition("token=")[2])
        finally:
            book.close()
        head, *rows, _, _, _ = content.decode("utf-8-sig").split("\r\n")
        facts = [dict(zip(head.split(","), r[1:].split(",`"), strict=True)) for r in rows]
        return sorted((f["商户订单号"], f["订单金额"], f["退款状态"]) for f in facts)

    assert told() == [
        ("nobodys", "0.09", ""),
        ("seeded-1", "0.77", ""),
        ("seeded-2", "0.00", "FAIL"),
        ("seeded-2", "1.00", ""),
    ]
    async with httpx.AsyncClient(base_url=outside.url, trust_env=False) as http:
        (await http.delete("/_sim/wechat/bills")).raise_for_status()
    assert [line[:2] for line in told()] == [
        ("seeded-0", "1.00"),
        ("seeded-1", "1.00"),
        ("seeded-2", "0.00"),
        ("seeded-2", "1.00"),
    ]
