"""`/sns/jscode2session`, `/cgi-bin/stable_token`, `/wxa/business/getuserphonenumber`.

As the original: every answer is HTTP 200 with `errcode` when something is wrong; a code is good
once, for five minutes, for one purpose; a person may be asked about 100 times a minute. Who signs
in on the telephone is simulated at `/_sim/wechat-mini`; the user `blocked` is one that WeChat
holds for risky (40226).
"""

import base64
import hashlib
import json
import secrets
import time
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from .. import faults
from ..book import Book
from ..keys import WeChatMiniSide

_CODE_SECONDS, _TOKEN_SECONDS, _PER_MINUTE = 300, 7200, 100
_TEXTS = {
    -1: "system error",
    40001: "invalid credential, access_token is invalid or not latest",
    40002: "invalid grant_type",
    40013: "invalid appid",
    40029: "invalid code",
    40125: "invalid appsecret",
    40163: "code been used",
    40226: "code blocked",
    41001: "access_token missing",
    41002: "appid missing",
    41004: "appsecret missing",
    41008: "missing code",
    42001: "access_token expired",
    43002: "require POST method",
    45011: "api minute-quota reach limit, must slower, retry next minute",
    47001: "data format error",
}


class Login(BaseModel):
    """A user of the mini-program calls `wx.login`; `asked`: how often we are taken to have asked
    about this user in the last minute."""

    user: str
    asked: int = Field(default=0, ge=0, le=1000)


class Phone(BaseModel):
    """A user lets the mini-program know the number."""

    phone: str
    country_code: str = "86"


class Refused(Exception):
    def __init__(self, errcode: int) -> None:
        self.errcode = errcode


def _said(body: dict[str, Any]) -> Response:
    # The original says text/plain, and clients that trust that stumble: so do we.
    return Response(json.dumps(body), media_type="text/plain")


class Room:
    """The three calls and their control as one router."""

    def __init__(self, side: WeChatMiniSide, book: Book, *, hang_seconds: float) -> None:
        self._side, self._book, self._hang_seconds = side, book, hang_seconds
        self.router = APIRouter()
        add = self.router.add_api_route
        add("/sns/jscode2session", self.session, methods=["GET"])
        add("/cgi-bin/stable_token", self.stable_token, methods=["POST"])
        add("/wxa/business/getuserphonenumber", self.phone_number, methods=["POST"])
        add("/_sim/wechat-mini/login", self.login, methods=["POST"])
        add("/_sim/wechat-mini/phone", self.phone, methods=["POST"])
        add("/_sim/wechat-mini/tokens", self.drop_tokens, methods=["DELETE"], status_code=204)
        add("/_sim/wechat-mini/faults", self.plan_fault, methods=["POST"], status_code=204)
        add("/_sim/wechat-mini/faults", self.clear_faults, methods=["DELETE"], status_code=204)

    async def session(self, request: Request) -> Response:
        """Who gave this code."""
        return await self._answered(request, "session", lambda: self._session(request))

    async def stable_token(self, request: Request) -> Response:
        """The access token for server calls; the same one until it ends."""
        body = await request.body()
        return await self._answered(request, "token", lambda: self._token(body))

    async def phone_number(self, request: Request) -> Response:
        """The number behind a code of `getPhoneNumber`."""
        body = await request.body()
        return await self._answered(request, "phone", lambda: self._phone(request, body))

    async def _answered(self, request: Request, call: str, act: Any) -> Response:
        fault = faults.take(self._book, "wechat_mini", call)
        try:
            if fault is not None and fault[1] == "before":
                return await self._fault(request, fault[0])
            answer = act()
        except Refused as refused:
            told = f"{_TEXTS[refused.errcode]}, rid: {secrets.token_hex(8)}"
            return _said({"errcode": refused.errcode, "errmsg": told})
        if fault is not None:
            return await self._fault(request, fault[0])
        return _said(answer)

    async def _fault(self, request: Request, kind: str) -> Response:
        if kind == "timeout":
            return await faults.hang(request, self._hang_seconds)
        errcode = -1 if kind == "500" else 45011
        return _said({"errcode": errcode, "errmsg": _TEXTS[errcode]})

    def _session(self, request: Request) -> dict[str, Any]:
        query = request.query_params
        self._proven(query.get("appid"), query.get("secret"))
        if query.get("grant_type") != "authorization_code":
            raise Refused(40002)
        user = self._use("login", query.get("js_code"))
        self._count(user)
        if user == "blocked":
            raise Refused(40226)
        name = hashlib.sha256(f"{self._side.appid}|{user}".encode()).digest()
        openid = "o" + base64.urlsafe_b64encode(name).decode()[:27]
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        return {"session_key": key, "openid": openid}

    def _token(self, body: bytes) -> dict[str, Any]:
        sent = _read(body)
        if sent.get("grant_type") != "client_credential":
            raise Refused(40002)
        self._proven(sent.get("appid"), sent.get("secret"))
        now = time.time()
        found = self._book.row("SELECT token, ends_at FROM mini_tokens ORDER BY ends_at DESC")
        if found is None or found["ends_at"] < now + 300 or sent.get("force_refresh") is True:
            found = {"token": secrets.token_urlsafe(96), "ends_at": now + _TOKEN_SECONDS}
            with self._book.act() as db:
                values = (found["token"], found["ends_at"])
                db.execute("INSERT INTO mini_tokens VALUES (?, ?)", values)
        return {"access_token": found["token"], "expires_in": int(found["ends_at"] - now)}

    def _phone(self, request: Request, body: bytes) -> dict[str, Any]:
        token = request.query_params.get("access_token")
        if not token:
            raise Refused(41001)
        known = self._book.row("SELECT ends_at FROM mini_tokens WHERE token = ?", token)
        if known is None:
            raise Refused(40001)
        if known["ends_at"] < time.time():
            raise Refused(42001)
        code = _read(body).get("code")
        country, _, number = self._use("phone", code).partition(" ")
        shown = number if country == "86" else f"{country}{number}"
        mark = {"timestamp": int(time.time()), "appid": self._side.appid}
        info = {
            "phoneNumber": shown,
            "purePhoneNumber": number,
            "countryCode": country,
            "watermark": mark,
        }
        return {"errcode": 0, "errmsg": "ok", "phone_info": info}

    def _proven(self, appid: Any, secret: Any) -> None:
        if not appid:
            raise Refused(41002)
        if not secret:
            raise Refused(41004)
        if appid != self._side.appid:
            raise Refused(40013)
        if not isinstance(secret, str) or not secrets.compare_digest(
            secret.encode(), self._side.secret.encode()
        ):
            raise Refused(40125)

    def _use(self, kind: str, code: Any) -> str:
        """Whose code it is; it is used up."""
        if not code:
            raise Refused(41008)
        query = "SELECT about, ends_at, used FROM mini_codes WHERE code = ? AND kind = ?"
        found = self._book.row(query, str(code), kind)
        if found is None or found["ends_at"] < time.time():
            raise Refused(40029)
        if found["used"]:
            raise Refused(40163 if kind == "login" else 40029)
        with self._book.act() as db:
            db.execute("UPDATE mini_codes SET used = 1 WHERE code = ?", (str(code),))
        return str(found["about"])

    def _count(self, user: str) -> None:
        now = time.time()
        with self._book.act() as db:
            db.execute("DELETE FROM mini_asked WHERE at < ?", (now - 60,))
            db.execute("INSERT INTO mini_asked VALUES (?, ?)", (user, now))
        asked = self._book.row("SELECT count(*) AS n FROM mini_asked WHERE user = ?", user)
        if asked is not None and asked["n"] > _PER_MINUTE:
            raise Refused(45011)

    def _new_code(self, kind: str, about: str) -> dict[str, str]:
        code, ends = secrets.token_urlsafe(24), time.time() + _CODE_SECONDS
        with self._book.act() as db:
            db.execute("INSERT INTO mini_codes VALUES (?, ?, ?, ?, 0)", (code, kind, about, ends))
        return {"code": code}

    async def login(self, who: Login) -> dict[str, str]:
        """What `wx.login` gives the mini-program on this user's telephone."""
        with self._book.act() as db:
            values = [(who.user, time.time())] * who.asked
            db.executemany("INSERT INTO mini_asked VALUES (?, ?)", values)
        return self._new_code("login", who.user)

    async def phone(self, who: Phone) -> dict[str, str]:
        """What `getPhoneNumber` gives it."""
        return self._new_code("phone", f"{who.country_code} {who.phone}")

    async def drop_tokens(self) -> None:
        """All access tokens end now."""
        with self._book.act() as db:
            db.execute("UPDATE mini_tokens SET ends_at = 0")

    async def plan_fault(self, fault: faults.Fault) -> None:
        """What the next calls (session, token, phone) shall suffer: 500 is busy (-1), 429 is
        too frequent (45011)."""
        faults.plan(self._book, "wechat_mini", fault)

    async def clear_faults(self) -> None:
        """Forget these."""
        faults.clear(self._book, "wechat_mini")


def _read(body: bytes) -> dict[str, Any]:
    try:
        sent = json.loads(body)
    except ValueError:
        raise Refused(47001) from None
    if not isinstance(sent, dict):
        raise Refused(47001)
    return sent
