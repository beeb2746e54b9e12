"""`/docs/errors`: every problem code; the `type` of a problem points to its place here."""

from html import escape
from typing import Any

from kit.views import View

from ..refusals import NAMES
from .layout import code, page, switches

_EVERY = ("所有服务", "Every service")


def render(errors: list[dict[str, Any]], view: View) -> str:
    listed = "".join(f'<li><a href="#{e["code"]}">{code(e["code"])}</a></li>' for e in errors)
    sections = "".join(_section(error) for error in errors)
    return page(
        "错误代码 · Problem codes",
        "<p>出错时的回应是 <code>application/problem+json</code>(RFC 9457)。程序请以 "
        "<code>code</code> 判断,它不会改变;<code>title</code> 与 <code>detail</code> 供人阅读,"
        "按 <code>Accept-Language</code> 给出中文或英文;<code>errors</code> 逐项指出字段。"
        '<br><span lang="en">Errors are problem documents (RFC 9457). Programs go by '
        "<code>code</code>, which stays; people read <code>title</code> and <code>detail</code>; "
        f"<code>errors</code> points to fields.</span></p><ul>{listed}</ul>{sections}",
        view,
        switches(view, "/docs/errors"),
    )


def _section(error: dict[str, Any]) -> str:
    status = ", ".join(str(number) for number in error["status"])
    sources = [NAMES.get(name, _EVERY) for name in error["from"]]
    detail = error.get("detail")
    more = (
        f'<p>{escape(detail["zh"])}<br><span lang="en">{escape(detail["en"])}</span></p>'
        if detail
        else ""
    )
    return (
        f'<section id="{escape(error["code"])}"><h2>{code(error["code"])} · {status}</h2>'
        f"<p><strong>{escape(error['title']['zh'])}</strong> · "
        f'<span lang="en">{escape(error["title"]["en"])}</span></p>{more}'
        f"<p>来自 / from: {escape('、'.join(zh for zh, _ in sources))} · "
        f'<span lang="en">{escape(", ".join(en for _, en in sources))}</span></p></section>'
    )
