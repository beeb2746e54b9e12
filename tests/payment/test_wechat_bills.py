"""WeChat Pay's daily bill as the adapter fetches it from the strict simulator, and what of a file
it does not believe."""

import gzip
import hashlib
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from payment_svc.channels import BadBill, BillNotReady, NoBill, Refused, Unknown
from payment_svc.channels.bills import Bill, BillKind, BillLine
from payment_svc.channels.wechat import WeChat
from payment_svc.channels.wechat_bills import BillFile, target_of
from payment_svc.channels.wechat_wire import Merchant
from sandbox.testing import Listener, Sandbox
from sandbox.wechat import bills

from .wechat_stage import (  # noqa: F401  fixtures are taken by name
    build,
    http,
    listener,
    outside,
    paid,
    place,
    wechat,
)

TODAY = datetime.now(bills.BEIJING).date()
MCHID, DAY = "1900000001", date(2026, 3, 10)


@pytest.fixture(autouse=True)
async def true_bills(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    yield
    if "wechat" in request.fixturenames:
        running = request.getfixturevalue("outside")
        async with httpx.AsyncClient(base_url=running.url, trust_env=False) as client:
            for what in ("bills", "faults"):
                (await client.delete(f"/_sim/wechat/{what}")).raise_for_status()


async def plan(outside: Sandbox, **told: Any) -> None:
    await outside.sim("wechat/bills/days", **{"day": TODAY.isoformat(), "state": "ready", **told})


async def test_a_day_with_a_payment_and_a_refund(outside: Sandbox, wechat: WeChat) -> None:
    number, twice = await paid(outside, wechat, 1000), await paid(outside, wechat, 409)
    await place(wechat)
    asked = await wechat.refund(
        out_trade_no=number,
        out_refund_no=uuid.uuid4().hex,
        amount_fen=1,
        total_fen=1000,
        reason="撤回申请",
    )
    await plan(outside)
    bill = await wechat.bill(TODAY)
    told = {line.transaction_id: line for line in bill.lines if line.kind is BillKind.TRADE}
    book = {p["transaction_id"]: p for p in (await outside.book("wechat"))["payments"]}
    assert {(n, t.out_trade_no, t.amount_fen, t.state) for n, t in told.items()} == {
        (n, p["out_trade_no"], p["total"], "SUCCESS") for n, p in book.items()
    }
    assert [p["out_trade_no"] for p in book.values()].count(twice) == 2, "paid twice is two lines"
    for line in told.values():
        assert line.at == datetime.fromtimestamp(int(book[line.transaction_id]["paid_at"]), UTC)
    (back,) = (line for line in bill.lines if line.kind is BillKind.REFUND)
    assert (back.out_refund_no, back.refund_id) == (asked.out_refund_no, asked.refund_id)
    assert (back.out_trade_no, back.amount_fen) == (number, 1)
    assert (bill.trade_count, bill.trade_fen) == (3, 1818)
    assert (bill.refund_count, bill.refund_fen) == (1, 1)
    assert list(bill.lines) == list(bill.lines), "they can be read again"
    assert (await wechat.bill(TODAY)).day == TODAY


async def test_a_bill_that_is_not_there(outside: Sandbox, wechat: WeChat) -> None:
    with pytest.raises(NoBill):
        await wechat.bill(TODAY - timedelta(days=40))
    for wrong in (TODAY, TODAY + timedelta(days=1), TODAY - timedelta(days=100)):
        with pytest.raises(Refused) as refused:
            await wechat.bill(wrong)
        assert refused.value.code == "INVALID_REQUEST"
    await plan(outside, state="creating")
    with pytest.raises(BillNotReady):
        await wechat.bill(TODAY)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        ("hash", "wrong_hash"),
        ("host", "foreign_host"),
        ("line", "malformed (line 2)"),
        ("summary", "wrong_count"),
        ("cut", ""),  # wherever that happens to be
    ],
)
async def test_a_bill_that_cannot_be_believed(
    outside: Sandbox, wechat: WeChat, spoil: str, reason: str
) -> None:
    await outside.sim("wechat/bills/add", day=TODAY.isoformat(), out_trade_no="some", amount=1)
    await plan(outside, spoil=spoil)
    with pytest.raises(BadBill) as bad:
        await wechat.bill(TODAY)
    assert str(bad.value).startswith(reason)
    await plan(outside)
    assert (await wechat.bill(TODAY)).trade_count > 0


async def test_a_file_that_inflates_without_end(
    outside: Sandbox, listener: Listener, http: httpx.AsyncClient
) -> None:
    wechat = WeChat(
        base_url=outside.url,
        merchant=Merchant.load(outside.keys / "wechat"),
        notify_url=f"{listener.url}/callbacks/wechat",
        client=http,
        bill_bytes=8 << 20,
    )
    await outside.sim("wechat/bills/add", day=TODAY.isoformat(), out_trade_no="some", amount=1)
    await plan(outside, spoil="bomb")
    with pytest.raises(BadBill) as bad:
        await wechat.bill(TODAY)
    assert bad.value.reason == "too_large"


async def test_trouble_on_the_way_to_a_file(
    outside: Sandbox, listener: Listener, http: httpx.AsyncClient
) -> None:
    wechat = build(outside, listener, http, timeout=0.7)
    await outside.sim("wechat/bills/add", day=TODAY.isoformat(), out_trade_no="some", amount=1)
    await plan(outside)
    for call in ("bill", "download"):
        for kind in ("500", "timeout"):
            await outside.sim("wechat/faults", call=call, kind=kind)
            with pytest.raises(Unknown):
                await wechat.bill(TODAY)
    assert (await wechat.bill(TODAY)).trade_count > 0


API = "https://api.mch.weixin.qq.com"


@pytest.mark.parametrize(
    ("url", "base", "reason"),
    [
        (f"{API}/v3/billdownload/file?token=x", API, None),
        (f" {API}/v3/billdownload/file?token=x", API, None),
        ("https://api2.mch.weixin.qq.com/v3/billdownload/file?token=x", API, None),
        (f"{API}/v3/billdownload/file?token=x", "http://127.0.0.1:8090", "foreign_host"),
        ("http://api.mch.weixin.qq.com/v3/billdownload/file?token=x", API, "foreign_host"),
        (f"{API}.example.com/v3/billdownload/file?token=x", API, "foreign_host"),
        (f"{API}@example.com/v3/billdownload/file?token=x", API, "foreign_host"),
        (f"{API}:8443/v3/billdownload/file?token=x", API, "foreign_host"),
        ("//example.com/v3/billdownload/file?token=x", API, "foreign_host"),
        ("file:///etc/passwd?x", API, "foreign_host"),
        (f"{API}/v3/billdownload/../certificates?x", API, "foreign_path"),
        (f"{API}/v3/billdownload/file", API, "foreign_path"),
        ("", API, "foreign_host"),
    ],
)
def test_a_download_address_leads_to_the_channel_alone(
    url: str, base: str, reason: str | None
) -> None:
    if reason is None:
        assert target_of(url, base) == "/v3/billdownload/file?token=x"
        return
    with pytest.raises(BadBill) as bad:
        target_of(url, base)
    assert bad.value.reason == reason


def read(content: bytes, *, zipped: bool = True, piece: int = 1000, digest: str = "") -> Bill:
    """A file as if it had come in pieces."""
    file = BillFile(
        day=DAY,
        mchid=MCHID,
        digest=digest or hashlib.sha1(content, usedforsecurity=False).hexdigest(),
        most_bytes=1 << 20,
    )
    wire = gzip.compress(content) if zipped else content
    for start in range(0, len(wire), piece):
        file.feed(wire[start : start + piece])
    return file.finish()


def row(line: BillLine, text: str = "工本费") -> dict[str, str]:
    """What WeChat Pay writes of it."""
    yuan = f"{line.amount_fen // 100}.{line.amount_fen % 100:02d}"
    refund = line.kind is BillKind.REFUND
    return dict.fromkeys(bills.COLUMNS["ALL"], "") | {
        "交易时间": line.at.astimezone(bills.BEIJING).strftime("%Y-%m-%d %H:%M:%S"),
        "商户号": MCHID, "微信订单号": line.transaction_id, "商户订单号": line.out_trade_no,
        "用户标识": "openid-of-somebody", "交易状态": "REFUND" if refund else line.state,
        "货币种类": "CNY", "应结订单金额": "0.00", "微信退款单号": line.refund_id or "0",
        "商户退款单号": line.out_refund_no or "0", "退款金额": "0.00",
        "充值券退款金额": "0.00", "退款状态": line.state if refund else "", "商品名称": text,
        "手续费": "0.00000", "订单金额": "0.00" if refund else yuan,
        "申请退款金额": yuan if refund else "0.00",
    }  # fmt: skip


NUMBERS = st.text("0123456789abcXYZ_-|*@,`", min_size=6, max_size=32).filter(
    lambda text: ",`" not in text
)
BEGIN = datetime(2026, 3, 9, 16, tzinfo=UTC)


@st.composite
def lines(draw: st.DrawFn) -> BillLine:
    refund = draw(st.booleans())
    return BillLine(
        kind=BillKind.REFUND if refund else BillKind.TRADE,
        out_trade_no=draw(NUMBERS),
        transaction_id=draw(NUMBERS),
        out_refund_no=draw(NUMBERS) if refund else "",
        refund_id=draw(NUMBERS) if refund else "",
        amount_fen=draw(st.integers(1, 10**10)),
        state=draw(st.sampled_from(["SUCCESS", "PROCESSING", "FAIL", "CHANGE"])) if refund
        else "SUCCESS",
        at=BEGIN + timedelta(seconds=draw(st.integers(0, 86_399))),
    )  # fmt: skip


@settings(max_examples=60)
@given(
    st.lists(st.tuples(lines(), st.text("甲,`\\\"' ", max_size=9)), max_size=30),
    st.booleans(),
    st.integers(1, 400),
)
def test_what_is_written_is_what_is_read(
    told: Sequence[tuple[BillLine, str]], zipped: bool, piece: int
) -> None:
    """Whatever the texts hold and wherever the pieces end. (The writer parts no text by `,\\``.)"""
    written = [row(line, text.replace(",", "\\ ")) for line, text in told]
    bill = read(bills.write("ALL", written), zipped=zipped, piece=piece)
    assert list(bill.lines) == [line for line, _ in told]
    trades = [line.amount_fen for line, _ in told if line.kind is BillKind.TRADE]
    refunds = [line.amount_fen for line, _ in told if line.kind is BillKind.REFUND]
    assert (bill.trade_count, bill.trade_fen) == (len(trades), sum(trades))
    assert (bill.refund_count, bill.refund_fen) == (len(refunds), sum(refunds))


TRADE = BillLine(BillKind.TRADE, "order-1", "4200001", "", "", 1234, "SUCCESS", BEGIN)
BACK = BillLine(BillKind.REFUND, "order-1", "4200001", "back-1", "5030001", 34, "FAIL", BEGIN)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"订单金额": "12.345"}, "malformed"),
        ({"订单金额": "-12.34"}, "malformed"),
        ({"订单金额": "1e1"}, "malformed"),
        ({"订单金额": "0.00"}, "malformed"),
        ({"订单金额": "12,34"}, "malformed"),
        ({"订单金额": ""}, "malformed"),
        ({"货币种类": "USD"}, "malformed"),
        ({"交易状态": "USERPAYING"}, "malformed"),
        ({"交易状态": "REFUND"}, "malformed"),
        ({"商户订单号": ""}, "malformed"),
        ({"商户订单号": "张三 110101"}, "malformed"),
        ({"微信订单号": "a\tb"}, "malformed"),
        ({"交易时间": "2026-02-30 00:00:00"}, "malformed"),
        ({"交易时间": "2026-03-10"}, "malformed"),
        ({"交易时间": "2026-03-10 00:00:00+01:00"}, "malformed"),
        ({"商品名称": "甲,`乙"}, "malformed"),
        ({"商品名称": "甲\n乙"}, "malformed"),
        ({"交易时间": "2026-03-11 00:00:00"}, "another_day"),
        ({"商户号": "1900000002"}, "another_merchant"),
    ],
)
def test_one_wrong_line_refuses_the_whole_bill(change: dict[str, str], reason: str) -> None:
    content = bills.write("ALL", [row(TRADE), row(BACK), row(TRADE)])
    assert read(content).trade_count == 2
    good = "`" + ",`".join(row(TRADE).values())
    wrong = "`" + ",`".join((row(TRADE) | change).values())
    head, _, rest = content.decode().rpartition(good)
    with pytest.raises(BadBill) as bad:
        read((head + wrong + rest).encode())
    assert (bad.value.reason, bad.value.line) == (reason, 4)
    for value in change.values():
        assert value == "" or value not in str(bad.value), "what stands there is never told"


def test_sums_count_and_end_must_fit() -> None:
    content = bills.write("ALL", [row(TRADE), row(BACK)])
    for old, new, reason in (
        (b"`2,`0.00", b"`3,`0.00", "wrong_count"),
        (b"12.34,`0.34\r\n", b"12.35,`0.34\r\n", "wrong_sum"),
        (b"12.34,`0.34\r\n", b"12.34,`0.33\r\n", "wrong_sum"),
        (b"12.34,`0.34\r\n", b"12.34,`0.34\r\n`1\r\n", "malformed"),
        ("货币种类".encode(), "币种".encode(), "malformed"),
        ("总交易单数".encode(), "单数".encode(), "malformed"),
    ):
        changed = content.replace(old, new)
        assert changed != content
        with pytest.raises(BadBill) as bad:
            read(changed)
        assert bad.value.reason == reason
    for cut in (content[: content.index("总交易单数".encode())], b"", content[:900]):
        with pytest.raises(BadBill):
            read(cut, zipped=False)
    with pytest.raises(BadBill) as bad:
        read(content, digest="0" * 40)
    assert bad.value.reason == "wrong_hash"
    with pytest.raises(BadBill) as bad:
        read(b"`" * (1 << 17))
    assert bad.value.reason == "malformed"


def test_unknown_columns_and_the_names_of_the_first_years() -> None:
    old = {"订单金额": "总金额", "申请退款金额": "退款金额", "订单总金额": "总交易额"}
    lacking = ("退款金额", "应结订单金额")
    columns = ["新的一列", *(name for name in bills.COLUMNS["ALL"] if name not in lacking)]
    rows = [row(TRADE) | {"新的一列": "?"}, row(BACK) | {"新的一列": ""}]
    text = "\n".join(
        [
            ",".join(old.get(column, column) for column in columns),
            *("`" + ",`".join(one[column] for column in columns) for one in rows),
            "总交易单数,总交易额,总退款金额,代金券或立减优惠退款金额,手续费总金额",
            "`2,`12.34,`0.34,`0.00,`0.00000",
        ]
    )
    assert list(read(text.encode()).lines) == [TRADE, BACK]


def test_nothing_of_the_payer_is_kept() -> None:
    bill = read(bills.write("ALL", [row(TRADE)] * 50))
    file = bill.lines._file  # type: ignore[attr-defined]
    file.seek(0)
    assert b"openid" not in file.read()
