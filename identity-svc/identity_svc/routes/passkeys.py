"""Passkeys of one's own, and signing in with one from the login page."""

import json
from functools import cache
from importlib.resources import files

from fastapi import APIRouter, Response

from kit import routing
from kit.auth import Public
from kit.errors import Problem, TooMany
from kit.routing import Session

from .. import accounts
from ..schemas_passkeys import NewPasskey, PasskeyOptions, PasskeyView
from ..sign_in import passkeys, ways
from .forms import signed_in, too_old
from .login import again
from .pages import error_page
from .sign_in_ways import Owner
from .waiting import waiting
from .web import At

router = routing.router(prefix="/v1/me/passkeys", tags=["sign-in"])
pages = APIRouter(tags=["login"], include_in_schema=False)


@router.post("/options")
async def passkey_options(at: At, session: Session, caller: Owner) -> PasskeyOptions:
    """What the device is to be asked with (`navigator.credentials.create`), after a fresh
    sign-in; good once, for five minutes."""
    await ways.fresh(session, caller)
    view = await accounts.own_view(session, at.runtime.vault, caller.subject)
    place = passkeys.Place.of(at.settings.issuer)
    shown = view["phone"] or view["name"]
    made = await passkeys.options(session, at.runtime.vault, place, caller.subject, shown)
    return PasskeyOptions.model_validate({"publicKey": made})


@router.post("", status_code=201)
async def add_passkey(at: At, session: Session, body: NewPasskey, caller: Owner) -> PasskeyView:
    """Add the passkey that the device made, after a fresh sign-in."""
    await ways.fresh(session, caller)
    vault = at.runtime.vault
    row = await passkeys.add(
        session,
        vault,
        passkeys.Place.of(at.settings.issuer),
        caller.subject,
        credential=body.credential.model_dump(by_alias=True),
        name=body.name,
    )
    return PasskeyView(id=row.id, name=passkeys.name_of(vault, row), added_at=row.added_at)


@router.delete("/{passkey_id}", status_code=204)
async def remove_passkey(session: Session, passkey_id: str, caller: Owner) -> None:
    """Remove a passkey, after a fresh sign-in; not when it is the last way in."""
    await ways.fresh(session, caller)
    await passkeys.remove(session, caller.subject, passkey_id)


@cache
def _script() -> str:
    return files("identity_svc").joinpath("static/passkey.js").read_text("utf-8")


@pages.get("/oauth2/passkey.js")
async def passkey_script(_: Public) -> Response:
    """The one script of the login page."""
    headers = {"cache-control": "public, max-age=300", "x-content-type-options": "nosniff"}
    return Response(_script(), media_type="text/javascript", headers=headers)


@pages.post("/oauth2/login/passkey")
async def sign_in_by_passkey(at: At, _: Public) -> Response:
    """Sign in with what the device answered."""
    sent = dict(await at.form())
    return_to = sent.get("return_to", "")
    if not at.form_holds(sent.get("csrf", "")):
        return await again(at, return_to, [("login", too_old(at))])
    if return_to and await waiting(at, return_to) is None:
        return error_page(at, "invalid_request")
    try:
        read = json.loads(sent.get("credential", ""))
    except (ValueError, RecursionError):
        read = None
    try:
        cookie = await passkeys.sign_in(
            at.door,
            passkeys.Place.of(at.settings.issuer),
            credential=read if isinstance(read, dict) else {},
            browser=at.form_key(),
            address=at.address(),
        )
    except Problem as problem:
        status = 429 if isinstance(problem, TooMany) else 422
        told = at.t(problem.zh, problem.en)
        response = await again(at, return_to, [("login", told)], status)
        response.headers.update(problem.headers)
        return response
    return signed_in(at, cookie, return_to)
