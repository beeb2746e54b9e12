"""What the pages before a sign-in share: the form's key, where it leads, what went wrong."""

from typing import Any
from urllib.parse import urlencode

from fastapi import Response
from fastapi.responses import HTMLResponse, RedirectResponse

from .pages import error_page, page
from .waiting import waiting
from .web import Web

Problems = list[tuple[str, str]]
"""(id of the field, what to do about it)"""


async def form(
    at: Web,
    template: str,
    path: str,
    return_to: str,
    *,
    status: int = 200,
    problems: Problems | None = None,
    key: str | None = None,
    **fields: Any,
) -> HTMLResponse:
    """A page with a form that leads back to `path`, and after it to `return_to`. `key`: the
    form's key, where the page needs it for more."""
    name, targets = "", "'self'"
    if return_to:
        client = await waiting(at, return_to)
        if client is None:
            return error_page(at, "invalid_request")
        name = client.name_en if at.english else client.name
        targets = f"'self' {client.origin}"
    key = key or at.form_key()
    query = urlencode({"return_to": return_to})
    response = page(
        template,
        at,
        status=status,
        here=f"{path}?{query}",
        form_targets=targets,
        client=name,
        path=path,
        csrf=at.form_token(key),
        return_to=return_to,
        onward=query,
        problems=problems or [],
        upstream=_upstream(at),
        **fields,
    )
    at.set_cookie(response, "beam_form", key)
    return response


def _upstream(at: Web) -> tuple[str, str] | None:
    """The name of the provider above us in both languages, if there is one."""
    settings = at.settings
    if not settings.upstream_oidc_issuer:
        return None
    return settings.upstream_oidc_name, settings.upstream_oidc_name_en


def too_old(at: Web) -> str:
    """What to say when a form is not one that we gave to this browser."""
    return at.t(
        "此页面放置太久或浏览器没有保存 Cookie。请重新操作。",
        "This page is too old, or the browser keeps no cookies. Please start again.",
    )


def signed_in(at: Web, cookie: str, return_to: str) -> Response:
    """Onward with the new sign-in."""
    response = RedirectResponse(return_to or "/", 303, {"cache-control": "no-store"})
    at.set_cookie(response, "beam_login", cookie)
    return response
