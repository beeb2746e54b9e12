"""One-time codes by short message: six digits, five minutes, five tries, one use.

A code is noted first and sent after the commit; if its answer is lost the person waits a minute
and asks for another one. How many are sent is counted by number and by address before anything
is looked up, so that nobody learns which numbers have accounts.
"""

import secrets
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncSession

from kit import crash
from kit.clock import now
from kit.db import Sessions
from kit.errors import Problem, Unavailable
from kit.ids import new_id
from kit.secrets import Vault

from . import attempts
from .channels import Messages, Sent
from .models import PhoneCode

Purpose = Literal["register", "step_up", "sign_in", "reset", "change_phone"]
LIFE = timedelta(minutes=5)
MOST_TRIES = 5
PER_MINUTE, PER_HOUR = 1, 5


class WrongCode(Problem):
    status, code, title = 422, "wrong_code", ("验证码不对", "The code is not right")


def wrong_code() -> WrongCode:
    """Alike for a wrong, used, expired and unknown code."""
    return WrongCode(
        "验证码不正确或已过期。请检查短信,或重新获取验证码。",
        "The code is wrong or too old. Check the message, or ask for a new code.",
    )


def _hash(vault: Vault, code_id: str, code: str) -> str:
    return vault.index(f"phone code|{code_id}|{code}")


async def send(
    sessions: Sessions,
    vault: Vault,
    messages: Messages | None,
    *,
    phone: str,
    purpose: Purpose,
    address: str,
    per_address: int,
) -> tuple[str, Sent]:
    """Send a code to `phone`; its id, and whether it went out. Raises TooMany after one a minute,
    five an hour or `per_address` an hour from one caller's address, Unavailable when no messages
    can be sent here at all."""
    if messages is None:
        raise _no_messages()
    code_id, code, at = new_id("otp"), f"{secrets.randbelow(10**6):06d}", now()
    index = vault.index(f"phone|{phone}")
    async with sessions.begin() as session:
        await _count(session, vault, index, (address, per_address), at)
        session.add(
            PhoneCode(
                id=code_id,
                purpose=purpose,
                phone_index=index,
                code_hash=_hash(vault, code_id, code),
                tries=0,
                expires_at=at + LIFE,
            )
        )
    crash.point("before_sms")
    sent = await messages.send_code(phone, code, reference=code_id)
    crash.point("after_sms")
    return code_id, sent


async def _count(
    session: AsyncSession, vault: Vault, index: str, caller: tuple[str, int], at: datetime
) -> None:
    address, per_address = caller
    for what, limit, minutes in (
        (f"sms a minute|{index}", PER_MINUTE, 1),
        (f"sms an hour|{index}", PER_HOUR, 60),
        (f"sms|{address}", per_address, 60),
    ):
        key = vault.index(what)
        await attempts.take(session, key, limit=limit, now=at, minutes=minutes)


async def use(
    session: AsyncSession, vault: Vault, *, code_id: str, code: str, phone: str, purpose: Purpose
) -> bool:
    """Whether this is the code that was sent to `phone` for this purpose; then it is used up.
    A wrong one counts: commit also when it is False."""
    row = await session.get(PhoneCode, code_id, with_for_update=True) if code_id else None
    if row is None or row.used_at is not None or row.expires_at <= now():
        return False
    if row.tries >= MOST_TRIES or row.purpose != purpose:
        return False
    row.tries += 1
    if row.phone_index != vault.index(f"phone|{phone}"):
        return False
    if not secrets.compare_digest(row.code_hash, _hash(vault, code_id, code)):
        return False
    row.used_at = now()
    return True


def _no_messages() -> Unavailable:
    return Unavailable(
        "目前无法发送短信验证码。请稍后再试,或前往政务服务窗口办理。",
        "No codes can be sent at the moment. Try again later, or come to a service counter.",
        retry_after=60,
    )
