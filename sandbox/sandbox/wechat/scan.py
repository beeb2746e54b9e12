"""The payer's telephone as a plain web page: read a QR code's text, pay or refuse. No script."""

from html import escape
from urllib.parse import quote

from fastapi import APIRouter, Form, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from ..book import Book
from ..posts import Courier
from . import orders
from .wire import Wire, WireError

_STATES = {
    "NOTPAY": "待支付",
    "SUCCESS": "支付成功",
    "REFUND": "已支付,有退款",
    "CLOSED": "订单已关闭,不能再支付",
    "PAYERROR": "支付未成功,可以重新支付",
}
_STYLE = (
    "body{font:18px/1.6 system-ui,sans-serif;max-width:30rem;margin:2rem auto;padding:0 1rem}"
    "button,input{font:inherit;padding:.6rem 1rem;margin:.3rem .3rem .3rem 0}"
    "input{width:100%;box-sizing:border-box}.sum{font-size:2.2rem;margin:.5rem 0}"
    "button.go{background:#05763c;color:#fff;border:1px solid #05763c}"
)


class Scan:
    """The pages as one router."""

    def __init__(self, wire: Wire, book: Book, courier: Courier) -> None:
        self._wire, self._book, self._courier = wire, book, courier
        self.router = APIRouter(prefix="/_sim/wechat/scan", include_in_schema=False)
        self.router.add_api_route("", self.show, methods=["GET"])
        self.router.add_api_route("", self.act, methods=["POST"])

    async def show(self, code_url: str = "") -> Response:
        """The order behind a code, or a form to enter one."""
        number = orders.by_code(self._book, code_url) if code_url else None
        if number is None:
            return self._ask(wrong=bool(code_url))
        order = self._book.row("SELECT * FROM wechat_orders WHERE out_trade_no = ?", number)
        state = orders.query(self._book, number)["trade_state"]
        assert order is not None
        buttons = ""
        if state in ("NOTPAY", "PAYERROR"):
            buttons = (
                '<form method="post">'
                f'<input type="hidden" name="code_url" value="{escape(code_url)}">'
                '<button class="go" name="act" value="pay">确认支付</button>'
                '<button name="act" value="fail">支付失败(模拟)</button></form>'
            )
        return _page(
            "扫码支付",
            f"<p>{escape(order['description'])}</p>"
            f'<p class="sum">¥{order["total"] // 100}.{order["total"] % 100:02d}</p>'
            f"<p>商户订单号 {escape(number)}</p>"
            f'<p role="status"><strong>{_STATES[state]}</strong></p>{buttons}'
            '<p><a href="/_sim/wechat/scan">扫描另一个二维码</a></p>',
        )

    async def act(
        self, request: Request, code_url: str = Form(""), act: str = Form("")
    ) -> Response:
        """Pay or fail, then show the order again."""
        number = orders.by_code(self._book, code_url)
        if number is None:
            return self._ask(wrong=True)
        try:
            if act == "pay":
                orders.pay(self._book, self._wire.side, number)
            elif act == "fail":
                orders.fail(self._book, number)
        except WireError:
            # Paid or closed meanwhile: the page that follows says so.
            return self._back(code_url)
        self._courier.wake()
        return self._back(code_url)

    @staticmethod
    def _back(code_url: str) -> Response:
        return RedirectResponse(f"/_sim/wechat/scan?code_url={quote(code_url, safe='')}", 303)

    def _ask(self, *, wrong: bool) -> Response:
        open_orders = self._book.rows(
            "SELECT description, total, code FROM wechat_orders WHERE state IN"
            " ('NOTPAY', 'PAYERROR') AND expires_at > unixepoch() ORDER BY rowid DESC LIMIT 20"
        )
        links = "".join(
            f'<li><a href="?code_url={quote(orders.code_url(row), safe="")}">'
            f"{escape(row['description'])} ¥{row['total'] // 100}.{row['total'] % 100:02d}</a></li>"
            for row in open_orders
        )
        told = '<p role="alert">没有找到这个二维码对应的订单。</p>' if wrong else ""
        waiting = f"<h2>待支付的订单</h2><ul>{links}</ul>" if links else ""
        return _page(
            "微信支付(模拟)",
            f'{told}<form method="get"><label for="c">二维码的内容</label>'
            '<input id="c" name="code_url" placeholder="weixin://wxpay/bizpayurl?pr=…">'
            f'<button class="go">打开</button></form>{waiting}',
            404 if wrong else 200,
        )


def _page(title: str, body: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(
        f'<!doctype html><html lang="zh-CN"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head>"
        f"<body><h1>{title}</h1>{body}</body></html>",
        status,
        headers={"Cache-Control": "no-store"},
    )
