"""The pages that people see: plain HTML in Chinese or English, no script, no outside request."""

import secrets
from functools import cache
from typing import Any

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from kit import context, views
from kit.errors import Problem

from .web import Web


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("identity_svc"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )


def page(
    template: str,
    at: Web,
    *,
    status: int = 200,
    here: str = "",
    form_targets: str = "'self'",
    script: str = "",
    **fields: Any,
) -> HTMLResponse:
    """A page in the person's language and size, under a content policy that lets nothing in but
    its own style. `here` is where it can be opened again, when not at the request's own address;
    `form_targets` are the origins that a form may lead to, redirects included; `script` the
    address of the one script that may run."""
    nonce, view, here = secrets.token_urlsafe(16), at.view, here or at.here
    html = (
        _templates()
        .get_template(template)
        .render(
            nonce=nonce,
            english=view.english,
            large=view.large,
            large_style=views.LARGE,
            other_language=views.switched(here, lang="zh" if view.english else "en"),
            other_size=views.switched(here, text="standard" if view.large else "large"),
            t=view.t,
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
        "content-language": "en" if view.english else "zh-CN",
        "vary": "accept-language, cookie",
    }
    response = HTMLResponse(html, status, headers)
    at.keep_view(response)
    return response


def error_page(at: Web, code: str) -> HTMLResponse:
    """An authorization request that may not be answered to any client."""
    # What was asked stays out of the page, out of its links too; the bare address says the same.
    return page("error.html", at, status=400, here=at.request.url.path, code=code)


def trouble_page(request: Request, problem: Problem) -> Response | None:
    """What a browser gets while something of ours is away; None for everybody else."""
    browser = "text/html" in request.headers.get("accept", "")
    if problem.status < 500 or not browser or not request.url.path.startswith("/oauth2/"):
        return None
    at = getattr(request.state, "web", None) or Web(request)
    shown = page("trouble.html", at, status=problem.status, request_id=context.request_id.get())
    shown.headers.update(problem.headers)
    return shown
