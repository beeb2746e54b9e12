"""The frame of every page: one style, one policy, nothing from outside."""

import base64
import hashlib
from html import escape

STYLE = (
    "body{font:1.125rem/1.6 system-ui,sans-serif;max-width:54rem;margin:2rem auto;"
    "padding:0 1rem;color:#1a1a1a;background:#fff}a{color:#0b4f9e}li{margin:.3rem 0}"
    "li a,p a{display:inline-block;min-height:1.5rem}"
    "code{font:0.95em ui-monospace,monospace;overflow-wrap:anywhere}"
    "section{border-top:1px solid #767676;margin-top:2rem}:target h2{background:#fff3bf}"
    "table{border-collapse:collapse;width:100%}caption{text-align:left;font-weight:600}"
    "th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid #ccc}"
    ".wide{overflow-x:auto}.skip{position:absolute;left:-99rem}.skip:focus{left:1rem}"
)
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
_ALWAYS = {"referrer-policy": "no-referrer", "cache-control": "no-cache"}
PLAIN = {
    "content-security-policy": f"default-src 'none'; style-src 'sha256-{_HASH}'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    **_ALWAYS,
}
"""Headers of a page without scripts."""
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


def page(title: str, body: str, lang: str = "zh-CN") -> str:
    """A whole page; `title` is text, `body` is HTML."""
    return (
        f"{HEAD.format(lang=lang)}<title>{escape(title)}</title><style>{STYLE}</style></head><body>"
        '<a class="skip" href="#main">跳到正文 / Skip to content</a>'
        f'<main id="main"><h1>{escape(title)}</h1>{body}</main></body></html>'
    )


def table(caption: str, heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table; caption and heads are text, cells are HTML."""
    top = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f"<table><caption>{escape(caption)}</caption>"
        f"<thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def code(text: str) -> str:
    return f"<code>{escape(text)}</code>"
