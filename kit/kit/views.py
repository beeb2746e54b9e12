"""How a person wants our pages: in Chinese or English, as usual or as the elder edition (长者版).

A link with `lang` or `text` chooses; cookies keep the choice for every page of the platform, a
year long. What was never chosen follows an app's `ui_locales` (OpenID Connect Core 1.0, 3.1.2.1),
then the browser. Needs no script. The cookies say nothing about who somebody is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode

from .problems import wants_english

LANGUAGES = ("zh", "en")
SIZES = ("standard", "large")
COOKIES = {"lang": "beam_lang", "text": "beam_text"}
"""Parameter → cookie."""
YEAR = 365 * 24 * 3600

LARGE = (
    "html{font-size:137.5%}"
    "body{color:#000;background:#fff;line-height:1.7}"
    "main p,main li{margin-top:.7em;margin-bottom:.7em}"
    "a{color:#00308f;text-decoration-thickness:.12em;text-underline-offset:.2em}"
    "main p>a,main li>a,footer a,header a{display:inline-flex;align-items:center;min-height:48px}"
    "code{font-weight:700}h1{font-size:1.6rem;line-height:1.4}h2{font-size:1.3rem;line-height:1.4}"
    ":focus-visible{outline:4px solid #000;outline-offset:3px;box-shadow:0 0 0 4px #ffdd00}"
)
"""What the elder edition adds to the style of any page: letters of 24 px and more, 7:1 contrast,
lines well apart, links that a finger meets (工信部 2021 适老化通用设计规范; WCAG 2.2 AA)."""


@dataclass(frozen=True)
class View:
    english: bool = False
    large: bool = False
    kept: tuple[tuple[str, str], ...] = ()
    """Cookies to set: name and value of what has just been chosen."""

    def t(self, zh: str, en: str) -> str:
        return en if self.english else zh

    def cookie_lines(self, *, secure: bool) -> list[str]:
        """Values of `Set-Cookie` that keep what has just been chosen."""
        rest = f"; Max-Age={YEAR}; Path=/; HttpOnly; SameSite=Lax{'; Secure' if secure else ''}"
        return [f"{name}={value}{rest}" for name, value in self.kept]


def read(
    *,
    query: Mapping[str, str],
    cookies: Mapping[str, str],
    accept_language: str | None,
    sent: Mapping[str, str] | None = None,
    ui_locales: str = "",
) -> View:
    """The view that a request asks for. `sent`: a form's fields, which carry the choice where a
    browser keeps no cookies."""

    def choice(name: str, known: tuple[str, ...]) -> str:
        for place in (query.get(name), (sent or {}).get(name), cookies.get(COOKIES[name])):
            if place in known:
                return place
        return ""

    lang = choice("lang", LANGUAGES)
    english = (
        lang == "en" if lang else wants_english(ui_locales.replace(" ", ",") or accept_language)
    )
    kept = [
        (COOKIES[name], query[name])
        for name, known in (("lang", LANGUAGES), ("text", SIZES))
        if query.get(name) in known and cookies.get(COOKIES[name]) != query[name]
    ]
    return View(english, choice("text", SIZES) == "large", tuple(kept))


def cookies_in(header: str) -> dict[str, str]:
    """The cookies of a request, from its `Cookie` header; none where it cannot be read."""
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(header).items()}
    except CookieError:
        return {}


def switched(target: str, **changes: str) -> str:
    """The address `target` with these parameters in place of those that it had."""
    path, _, query = target.partition("?")
    rest = [(k, v) for k, v in parse_qsl(query, keep_blank_values=True) if k not in changes]
    return f"{path}?{urlencode([*rest, *changes.items()])}"
