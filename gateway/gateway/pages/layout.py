"""The frame of every page: one style, one policy, nothing from outside; in the language and the
size of letters that the person chose."""

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse

from kit import views
from kit.clock import CITY
from kit.views import View

STYLE = (
    'body{font:1.125rem/1.6 system-ui,"PingFang SC","Microsoft YaHei","Noto Sans CJK SC",'
    "sans-serif;line-break:strict;text-autospace:normal;max-width:54rem;margin:2rem auto;"
    "padding:0 1rem;color:#1a1a1a;background:#fff}a{color:#0b4f9e}li{margin:.3rem 0}"
    "li a,p a{display:inline-block;min-height:1.5rem}"
    "code{font:0.95em ui-monospace,monospace;overflow-wrap:anywhere}"
    "section{border-top:1px solid #767676;margin-top:2rem}:target h2{background:#fff3bf}"
    "table{border-collapse:collapse;width:100%}caption{text-align:left;font-weight:600}"
    "th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;min-width:5rem;"
    "border-bottom:1px solid #ccc}"
    ".wide{overflow-x:auto}.skip{position:absolute;left:-99rem}.skip:focus{left:1rem}"
    "button{font:inherit;font-weight:600;padding:.3rem .9rem;min-height:2.75rem;border:0;"
    "background:#0b4f9e;color:#fff;cursor:pointer}"
    "label,dt{font-weight:600}label{display:block;margin-top:1rem}.hint{margin:.1rem 0 .35rem}"
    "input{width:100%;box-sizing:border-box;font:inherit;padding:.4rem .6rem;min-height:2.75rem;"
    "border:2px solid #1a1a1a;margin-bottom:.75rem}dd{margin:0 0 .75rem}"
    "header a{display:inline-block;min-height:1.5rem;margin-right:1rem}"
    ":focus-visible{outline:3px solid #1a1a1a;outline-offset:2px;box-shadow:0 0 0 3px #ffdd00}"
    "footer{border-top:1px solid #767676;margin-top:2rem}h1,h2,p,li{overflow-wrap:anywhere}"
)
STYLES = {False: STYLE, True: STYLE + views.LARGE}
"""As usual, and of the elder edition."""


def _hash(style: str) -> str:
    return base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()


_ALWAYS = {"referrer-policy": "no-referrer", "cache-control": "no-cache"}
_HASHES = " ".join(f"'sha256-{_hash(style)}'" for style in STYLES.values())
PLAIN = {
    "content-security-policy": f"default-src 'none'; style-src {_HASHES}; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    **_ALWAYS,
}
"""Headers of a page without scripts."""
WITH_FORM = {
    **PLAIN,
    "content-security-policy": PLAIN["content-security-policy"].replace(
        "form-action 'none'", "form-action 'self'"
    ),
}
"""Headers of a page with a form that leads to us."""
WITH_SCRIPT = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    **_ALWAYS,
}
"""Headers of the API reference; its script and style come from this very address."""
HEAD = (
    '<!doctype html><html lang="{lang}"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width,initial-scale=1">'
    '<link rel="icon" href="data:,">'
)


USUAL = View()


def answer(
    request: Request,
    write: Callable[[View], str],
    headers: dict[str, str] = PLAIN,
    *,
    both: bool = False,
) -> HTMLResponse:
    """The page that `write` makes for the person's view, who is remembered to have chosen it.
    `both`: it is in both languages at once, and its frame in Chinese."""
    view = views.read(
        query=request.query_params,
        cookies=request.cookies,
        accept_language=request.headers.get("accept-language"),
    )
    html = write(replace(view, english=False, kept=()) if both else replace(view, kept=()))
    response = HTMLResponse(html, headers={**headers, "vary": "accept-language, cookie"})
    secure = request.state.beam.settings.issuer.startswith("https://")
    for line in view.cookie_lines(secure=secure):
        response.headers.append("set-cookie", line)
    return response


def switches(view: View, here: str, *, language: bool = False) -> str:
    """Links to the same page in other letters and, where it has it, in the other language."""
    size = views.switched(here, text="standard" if view.large else "large")
    name = view.t("标准版", "Standard text") if view.large else view.t("长者版", "Large text")
    links = f'<a href="{escape(size)}">{name}</a>'
    if language:
        other = views.switched(here, lang="zh" if view.english else "en")
        lang, name = ("zh-CN", "中文") if view.english else ("en", "English")
        links += f' <a href="{escape(other)}" hreflang="{lang}" lang="{lang}">{name}</a>'
    return f'<nav aria-label="{view.t("显示方式", "Display")}">{links}</nav>'


def page(
    title: str,
    body: str,
    view: View = USUAL,
    top: str = "",
    lang: str = "",
    title_lang: str = "",
) -> str:
    """A whole page; `title` is text, `body` and `top` (above everything else) are HTML. `lang`
    where it is not the view's, `title_lang` where the title is in another one."""
    of_title = f' lang="{title_lang}"' if title_lang else ""
    lang = lang or ("en" if view.english else "zh-CN")
    help_ = view.t("遇到困难?请拨打", "Need help? Call")
    return (
        f"{HEAD.format(lang=lang)}<title>{escape(title)}</title>"
        f"<style>{STYLES[view.large]}</style></head><body>"
        f'<a class="skip" href="#main">{view.t("跳到正文", "Skip to content")}</a>'
        f'<header>{top}</header><main id="main"><h1{of_title}>{escape(title)}</h1>{body}</main>'
        f'<footer><p>{help_} <a href="tel:12345">12345</a></p></footer></body></html>'
    )


def table(caption: str, heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table; caption and heads are text, cells are HTML."""
    top = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f"<table><caption>{escape(caption)}</caption>"
        f"<thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def moment(said: str) -> str:
    """A moment of an answer (ISO 8601) as people of the city read it."""
    return f"{datetime.fromisoformat(said).astimezone(CITY):%Y-%m-%d %H:%M:%S}"


def code(text: str) -> str:
    return f"<code>{escape(text)}</code>"
