"""The pages that people see: plain HTML in Chinese or English, no script, no outside request."""

import secrets
from functools import cache
from typing import Any

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from kit import context
from kit.errors import Problem
from kit.problems import wants_english

from .web import Web


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("identity_svc"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )


def in_english(at: Web, chosen: str | None) -> bool:
    """What the person chose, else what the browser prefers."""
    if chosen in ("en", "zh"):
        return chosen == "en"
    return wants_english(at.request.headers.get("accept-language"))


def page(
    template: str,
    *,
    english: bool,
    status: int = 200,
    switch: str = "",
    form_targets: str = "'self'",
    script: str = "",
    **fields: Any,
) -> HTMLResponse:
    """A page under a content policy that lets nothing in but its own style. `form_targets` are
    the origins that a form may lead to, redirects included; `script` the address of the one
    script that may run."""
    nonce = secrets.token_urlsafe(16)
    html = (
        _templates()
        .get_template(template)
        .render(
            nonce=nonce,
            english=english,
            switch=switch,
            t=lambda zh, en: en if english else zh,
            script=script,
            **fields,
        )
    )
    scripts = f"script-src {script}; " if script else ""
    policy = (
        f"default-src 'none'; {scripts}style-src 'nonce-{nonce}'; form-action {form_targets}; "
        "frame-ancestors 'none'; base-uri 'none'"
    )
    headers = {
        "content-security-policy": policy,
        "cache-control": "no-store",
        "referrer-policy": "same-origin",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "content-language": "en" if english else "zh-CN",
        "vary": "accept-language, cookie",
    }
    return HTMLResponse(html, status, headers)


def error_page(at: Web, code: str) -> HTMLResponse:
    """An authorization request that may not be answered to any client."""
    return page("error.html", english=in_english(at, None), status=400, code=code)


def trouble_page(request: Request, problem: Problem) -> Response | None:
    """What a browser gets while something of ours is away; None for everybody else."""
    browser = "text/html" in request.headers.get("accept", "")
    if problem.status < 500 or not browser or not request.url.path.startswith("/oauth2/"):
        return None
    english = wants_english(request.headers.get("accept-language"))
    shown = page(
        "trouble.html",
        english=english,
        status=problem.status,
        request_id=context.request_id.get(),
    )
    shown.headers.update(problem.headers)
    return shown
