"""Every answer that the beam gives by itself, as data, and the bytes of such an answer."""

from dataclasses import dataclass
from html import escape
from http import HTTPStatus
from typing import Any

from kit import views
from kit.problems import render
from kit.views import View

from .pages import layout


@dataclass(frozen=True)
class Refusal:
    status: int
    title: tuple[str, str]
    detail: tuple[str, str]
    headers: bytes = b""


NAMES = {
    "identity": ("统一身份", "Identity"),
    "catalog": ("事项目录", "The catalogue"),
    "case": ("办件", "Case handling"),
    "licence": ("电子证照", "Licences"),
    "payment": ("缴费", "Payment"),
    "logistics": ("寄送", "Delivery"),
    "helpdesk": ("好差评", "Ratings"),
    "exchange": ("数据交换", "The exchange"),
    "gateway": ("统一入口", "The gateway"),
}
"""How the services are called where people read."""

_BEARER = b'www-authenticate: Bearer error="invalid_token"\r\n'
_MALFORMED = ("请求格式不符", "Malformed request")

REFUSALS = {
    "bad_request": Refusal(
        400,
        _MALFORMED,
        (
            "请求不符合 HTTP 规范,未被转交。请检查客户端后重试。",
            "The message breaks the rules of HTTP and was not passed on. Check the client.",
        ),
    ),
    "bad_target": Refusal(
        400,
        _MALFORMED,
        (
            "地址含有不允许的写法(如 .. 、重复斜线或转义的斜线)。请使用接口文档中的地址。",
            "The address is spelt in a way that is not allowed (such as .., // or an escaped "
            "slash). Use the address as it stands in the reference.",
        ),
    ),
    "bad_host": Refusal(
        400,
        _MALFORMED,
        ("须有且仅有一个 Host 请求头。", "There must be exactly one Host header, a plain one."),
    ),
    "upgrade_refused": Refusal(
        400,
        ("不支持协议升级", "No upgrade here"),
        ("此入口不支持 WebSocket 等协议升级。", "This door takes no WebSocket or other upgrade."),
    ),
    "bad_token": Refusal(
        401,
        ("需要登录", "Sign in first"),
        (
            "登录凭证已失效,或不是本平台签发的。请重新登录。",
            "The access token is not valid, or not any more. Sign in again.",
        ),
        _BEARER,
    ),
    "insufficient_scope": Refusal(
        403,
        ("应用未获此项授权", "Outside of what was granted"),
        (
            "此凭证的授权范围不含这项操作。请在授权时申请 WWW-Authenticate 所列的范围。",
            "The token was granted for other things. Ask for the scope in WWW-Authenticate.",
        ),
    ),
    "not_found": Refusal(
        404,
        ("没有找到", "Not found"),
        ("没有这个地址。请对照接口文档。", "There is no such address here. See the reference."),
    ),
    "method_not_allowed": Refusal(
        405,
        ("不支持该方法", "Method not allowed"),
        (
            "这个地址不支持该方法。请看 Allow。",
            "This address does not take that method. See Allow.",
        ),
    ),
    "request_timeout": Refusal(
        408,
        ("请求超时", "The request took too long"),
        ("请求未在规定时间内传完。请重试。", "The request did not arrive in time. Try again."),
    ),
    "too_large": Refusal(
        413,
        ("请求内容太大", "Too large"),
        ("请求内容超出此地址的上限。请缩小后重试。", "The body is over the limit of this address."),
    ),
    "target_too_long": Refusal(
        414,
        ("地址太长", "Address too long"),
        ("地址超出 8 KiB。请减少查询参数。", "The address is over 8 KiB. Use fewer parameters."),
    ),
    "expectation_failed": Refusal(
        417,
        ("无法满足 Expect", "Expectation failed"),
        ("Expect 只支持 100-continue。", "Only 100-continue is understood in Expect."),
    ),
    "too_many": Refusal(
        429,
        ("请求太频繁", "Too many requests"),
        ("请求太频繁。请按 Retry-After 的秒数等待后重试。", "Too many requests. See Retry-After."),
    ),
    "head_too_large": Refusal(
        431,
        ("请求头太大", "Header fields too large"),
        ("请求头超出 32 KiB 或 100 项。请精简后重试。", "The head is over 32 KiB or 100 fields."),
    ),
    "bad_gateway": Refusal(
        502,
        ("服务中断", "The service broke off"),
        (
            "{zh}服务中断了这次请求,结果未知。请查询结果,或用同一 Idempotency-Key 重试。",
            "{en} broke off this request; its outcome is unknown. Look it up, or retry with the "
            "same Idempotency-Key.",
        ),
        b"retry-after: 2\r\n",
    ),
    "unavailable": Refusal(
        503,
        ("服务暂时不可用", "Temporarily unavailable"),
        (
            "{zh}服务暂时不可用,请求没有被处理,其他服务不受影响。请稍后重试。",
            "{en} is away for the moment; nothing was done, the rest works. Try again shortly.",
        ),
        b"retry-after: 5\r\n",
    ),
    "overloaded": Refusal(
        503,
        ("服务繁忙", "Too busy"),
        (
            "{zh}服务此刻请求过多,您的请求没有被处理。请按 Retry-After 的秒数等待后重试。",
            "{en} has more requests than it can take; nothing was done. See Retry-After.",
        ),
        b"retry-after: 1\r\n",
    ),
    "identity_unavailable": Refusal(
        503,
        ("服务暂时不可用", "Temporarily unavailable"),
        (
            "统一身份服务暂时无法核验登录凭证。请稍后重试。",
            "Identity cannot check access tokens for the moment. Try again shortly.",
        ),
        b"retry-after: 2\r\n",
    ),
    "timeout": Refusal(
        504,
        ("服务没有及时回应", "No answer in time"),
        (
            "{zh}服务没有及时回应,结果未知。请查询结果,或用同一 Idempotency-Key 重试。",
            "{en} did not answer in time; the outcome is unknown. Look it up, or retry with the "
            "same Idempotency-Key.",
        ),
        b"retry-after: 5\r\n",
    ),
    "connect_timeout": Refusal(
        504,
        ("服务没有及时回应", "No answer in time"),
        (
            "{zh}服务未能在规定时间内接通,请求没有被处理。请稍后重试。",
            "{en} could not be reached in time; nothing was done. Try again shortly.",
        ),
        b"retry-after: 5\r\n",
    ),
    "version_not_supported": Refusal(
        505,
        ("不支持该 HTTP 版本", "HTTP version not supported"),
        ("请使用 HTTP/1.1。", "Use HTTP/1.1."),
    ),
}

STATUS_LINES = {status: b"HTTP/1.1 %d \r\n" % status for status in range(200, 600)} | {
    known.value: b"HTTP/1.1 %d %s\r\n" % (known.value, known.phrase.encode())
    for known in HTTPStatus
    if known.value >= 200
}


def _as_page(title: str, detail: str, request_id: str, view: View) -> tuple[bytes, bytes]:
    """Header lines and body of a page that says it to whoever waits for one."""
    again = view.t(
        "过一会儿用浏览器的“返回”再试一次。",
        "Go back in your browser after a moment and try again.",
    )
    call = view.t(
        "若仍不行,请拨打 12345,并告知编号:", "If it stays so, call 12345 and tell this number: "
    )
    text = "".join(f"<p>{escape(line)}</p>" for line in (detail, again))
    html = layout.page(title, f"{text}<p>{escape(call)}{layout.code(request_id)}</p>", view)
    vary = {"vary": "accept-language, cookie"}
    lines = {"content-type": "text/html; charset=utf-8", **vary, **layout.PLAIN}
    lines.pop("cache-control")  # the head of every refusal has one
    return "".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode(), html.encode()


def answer(
    code: str,
    *,
    accept_language: bytes,
    instance: str,
    request_id: bytes,
    service: str | None,
    keep: bool,
    body_wanted: bool,
    page: bool = False,
    cookies: bytes = b"",
    headers: bytes = b"",
) -> tuple[int, bytes]:
    """Status and the whole answer, head and problem+json, in the client's language; for a `page`
    that a person opens the same as a page, in the language and size that the `cookies` keep.

    `service` names the pillar in the text of a 502, 503 or 504; `headers` are further header
    lines, each with its line end; without `body_wanted` (HEAD) the head stands alone."""
    refusal = REFUSALS[code]
    view = views.read(
        query={},
        cookies=views.cookies_in(cookies.decode("latin-1")) if page else {},
        accept_language=accept_language.decode("latin-1"),
    )
    english = view.english
    detail = refusal.detail[english]
    extra: dict[str, Any] = {}
    if code == "identity_unavailable":
        extra["service"] = "identity"
    elif service is not None and refusal.status > 500:
        zh, en = NAMES[service]
        detail = detail.format(zh=zh, en=en)
        extra["service"] = service
    body = render(
        status=refusal.status,
        code=code,
        title=refusal.title[english],
        detail=detail,
        instance=instance,
        request_id=request_id.decode(),
        **extra,
    )
    kind = b"content-type: application/problem+json\r\n"
    if page:
        kind, body = _as_page(refusal.title[english], detail, request_id.decode(), view)
    head = [
        STATUS_LINES[refusal.status],
        kind,
        b"content-language: ",
        b"en" if english else b"zh-CN",
        b"\r\ncontent-length: %d\r\nx-request-id: " % len(body),
        request_id,
        b"\r\ncache-control: no-store\r\n",
        refusal.headers,
        headers,
        b"\r\n" if keep else b"connection: close\r\n\r\n",
    ]
    if body_wanted:
        head.append(body)
    return refusal.status, b"".join(head)
