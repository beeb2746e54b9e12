"""The ways into one's own account, and signing in from the WeChat mini-program."""

from typing import Annotated

from fastapi import Depends

from kit import routing
from kit.auth import Caller, Gate, Public
from kit.clock import now
from kit.routing import Session

from .. import attempts
from ..schemas_sign_in import (
    PasswordChange,
    PhoneChange,
    SignInCode,
    SignInWay,
    SignInWays,
    WeChatSignIn,
    WeChatUser,
)
from ..sign_in import new_phone, ways, wechat
from .web import At

router = routing.router(tags=["sign-in"])
Owner = Annotated[Caller, Depends(Gate(kinds=("person", "enterprise", "staff")))]
"""Whoever signs in by himself."""


@router.get("/v1/me/sign-in-ways")
async def my_sign_in_ways(at: At, session: Session, caller: Owner) -> SignInWays:
    """The ways into the caller's account, masked."""
    found = await ways.of_account(session, at.runtime.vault, caller.subject)
    return SignInWays(items=[SignInWay.model_validate(way) for way in found])


@router.put("/v1/me/password", status_code=204)
async def change_password(at: At, body: PasswordChange, caller: Owner) -> None:
    """Set a new password, after a fresh sign-in; all other sign-ins end."""
    current = body.current.get_secret_value() if body.current else None
    await ways.change_password(at.door, caller, current=current, new=body.new.get_secret_value())


@router.put("/v1/me/phone", status_code=204)
async def change_phone(at: At, body: PhoneChange, caller: Owner) -> None:
    """Change the number, after a fresh sign-in and a code to the new one; the old one is told."""
    await new_phone.change(
        at.door,
        caller,
        at.outside.messages,
        phone=body.phone,
        code_id=body.phone_code.id,
        code=body.phone_code.code.get_secret_value(),
    )


@router.put("/v1/me/sign-in-ways/wechat", status_code=204)
async def bind_wechat(at: At, session: Session, body: WeChatUser, caller: Owner) -> None:
    """Let a WeChat user into the caller's account, after a fresh sign-in."""
    async with at.runtime.sessions() as reading:
        await ways.fresh(reading, caller)
    code = body.code.get_secret_value()
    user = await wechat.ask(at.outside.mini_program, at.runtime.vault, code)
    await wechat.bind(session, caller.subject, user)


@router.delete("/v1/me/sign-in-ways/wechat", status_code=204)
async def unbind_wechat(session: Session, caller: Owner) -> None:
    """Let no WeChat user in any more, after a fresh sign-in; not when it is the last way."""
    await ways.fresh(session, caller)
    await wechat.unbind(session, caller.subject)


@router.post("/v1/sign-ins/wechat")
async def sign_in_by_wechat(at: At, session: Session, body: WeChatSignIn, _: Public) -> SignInCode:
    """Sign in from the mini-program; the answer is an authorization code for `/oauth2/token`."""
    vault, settings = at.runtime.vault, at.settings
    address = vault.index(f"address|{at.address()}")
    async with at.runtime.sessions.begin() as counting:
        client, scope = await wechat.client(counting, body.client_id, body.scope)
        limit, minutes = settings.tries_per_address, settings.tries_minutes
        await attempts.take(counting, address, limit=limit, now=now(), minutes=minutes)
    phone_code = body.phone_code.get_secret_value() if body.phone_code else None
    code = body.code.get_secret_value()
    user = await wechat.ask(at.outside.mini_program, vault, code, phone_code)
    async with at.runtime.sessions.begin() as counting:
        await attempts.give_back(counting, forget="", one_of=address)
    said = body.newcomer
    newcomer = wechat.Newcomer(said.name, said.id_number) if said else None
    account = await wechat.enter(session, vault, user, newcomer=newcomer)
    issued = await wechat.issue_code(
        session,
        settings,
        account,
        client,
        scope=scope,
        challenge=body.code_challenge,
        nonce=body.nonce,
        jkt=body.dpop_jkt,
    )
    return SignInCode(code=issued, expires_in=settings.code_seconds)
