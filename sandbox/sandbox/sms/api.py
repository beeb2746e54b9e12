"""`SendSms` of dysmsapi, 2017-05-25, and what may be asked and planned at `/_sim/sms`.

Magic numbers, by the last four digits: 0413 sent too often (isv.BUSINESS_LIMIT_CONTROL), 0416
not reachable (isv.MOBILE_NUMBER_ILLEGAL), 0504 sent but the answer is lost, 0500 no answer of use.
"""

import json
import re
import secrets
import time
import uuid
from typing import Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from .. import faults
from ..book import Book
from ..keys import SMSSide
from . import wire

_PHONE = re.compile(r"(?:\+?86)?(1[3-9][0-9]{9})")
_BUSINESS = {
    "0413": ("isv.BUSINESS_LIMIT_CONTROL", "触发分钟级流控Permits:1"),
    "0416": ("isv.MOBILE_NUMBER_ILLEGAL", "号码不合法"),
}
_LOST, _BROKEN = "0504", "0500"


class Room:
    """The address of the service (`POST /`) and its control, as one router."""

    def __init__(self, side: SMSSide, book: Book, *, hang_seconds: float) -> None:
        self._side, self._book, self._hang_seconds = side, book, hang_seconds
        self.router = APIRouter()
        add = self.router.add_api_route
        add("/", self.service, methods=["POST"])
        add("/_sim/sms/book", self.read_book, methods=["GET"])
        add("/_sim/sms/faults", self.plan_fault, methods=["POST"], status_code=204)
        add("/_sim/sms/faults", self.clear_faults, methods=["DELETE"], status_code=204)

    async def service(self, request: Request) -> Response:
        """Check the signature, suffer planned faults, send."""
        request_id = str(uuid.uuid4()).upper()
        body = await request.body()
        fault: tuple[str, faults.Moment] | None = None
        try:
            action, fields = self._read(request, body)
            fault = faults.take(self._book, "sms", action)
            if fault is not None and fault[1] == "before":
                return await self._fault(request, fault[0])
            answer, ending = self._send(fields)
        except wire.Refused as refused:
            return JSONResponse(refused.body(request_id), refused.status)
        if fault is not None:
            return await self._fault(request, fault[0])
        if ending == _LOST:
            return await faults.hang(request, self._hang_seconds)
        if ending == _BROKEN:
            return JSONResponse({"Code": "InternalError", "RequestId": request_id}, 500)
        return JSONResponse({**answer, "RequestId": request_id})

    def _read(self, request: Request, body: bytes) -> tuple[str, dict[str, str]]:
        headers = {name.lower(): value for name, value in request.headers.items()}
        query = dict(request.query_params)
        nonce = wire.check(
            "POST",
            request.url.path,
            query,
            headers,
            body,
            key_id=self._side.access_key_id,
            secret=self._side.access_key_secret,
        )
        now = time.time()
        with self._book.act() as db:
            old = now - 2 * wire.TOLERANCE_SECONDS
            db.execute("DELETE FROM nonces WHERE at < ?", (old,))
            new = db.execute("INSERT OR IGNORE INTO nonces VALUES (?, ?)", (f"sms|{nonce}", now))
        if not new.rowcount:
            raise wire.Refused(400, "SignatureNonceUsed", "Specified signature nonce was used.")
        if (headers["x-acs-action"], headers["x-acs-version"]) != ("SendSms", "2017-05-25"):
            raise wire.Refused(404, "InvalidAction.NotFound", "Specified api is not found.")
        form = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        return "SendSms", {**query, **form}

    def _send(self, fields: dict[str, str]) -> tuple[dict[str, str], str]:
        for name in ("PhoneNumbers", "SignName", "TemplateCode"):
            if not fields.get(name):
                raise wire.Refused(400, f"Missing{name}", f"{name} is mandatory for this action.")
        side, phone = self._side, _PHONE.fullmatch(fields["PhoneNumbers"])
        if fields["SignName"] != side.sign_name:
            return _told("isv.SMS_SIGNATURE_ILLEGAL", "短信签名不合法"), ""
        notice = fields["TemplateCode"] == side.notice_template_code != ""
        if not notice and fields["TemplateCode"] != side.template_code:
            return _told("isv.SMS_TEMPLATE_ILLEGAL", "短信模版不合法"), ""
        try:
            given = json.loads(fields.get("TemplateParam", "{}" if notice else ""))
            code = given["code"] if set(given) == {"code"} else None
        except (ValueError, TypeError, KeyError):
            return _told("isv.INVALID_JSON_PARAM", "参数格式错误"), ""
        if notice and given:
            return _told("isv.TEMPLATE_PARAMS_ILLEGAL", "模版变量里包含非法关键字"), ""
        if notice:
            code = ""
        elif not isinstance(code, str) or not re.fullmatch(r"[0-9A-Za-z]{4,6}", code):
            return _told("isv.TEMPLATE_MISSING_PARAMETERS", "模版缺少变量"), ""
        if phone is None:
            return _told("isv.MOBILE_NUMBER_ILLEGAL", "号码不合法"), ""
        ending = phone[1][-4:]
        if ending in _BUSINESS:
            return _told(*_BUSINESS[ending]), ""
        biz_id = f"{secrets.randbelow(10**18):018d}^0"
        with self._book.act() as db:
            db.execute(
                "INSERT INTO sms_messages VALUES (?, ?, ?, ?, ?)",
                (biz_id, fields.get("OutId", ""), phone[1], code, time.time()),
            )
        return {**_told("OK", "OK"), "BizId": biz_id}, ending

    async def _fault(self, request: Request, kind: str) -> Response:
        if kind == "timeout":
            return await faults.hang(request, self._hang_seconds)
        if kind == "429":
            return JSONResponse({"Code": "Throttling.User", "Message": "flow control"}, 400)
        return JSONResponse({"Code": "InternalError", "Message": "internal"}, 500)

    async def read_book(self, phone: str | None = None) -> dict[str, Any]:
        """The messages that arrived, the latest last: what the person reads on the telephone."""
        query = (
            "SELECT biz_id, out_id, phone, code, at FROM sms_messages"
            " WHERE phone = ?1 OR ?1 IS NULL ORDER BY rowid"
        )
        return {"messages": self._book.rows(query, phone)}

    async def plan_fault(self, fault: faults.Fault) -> None:
        """What the next calls shall suffer."""
        faults.plan(self._book, "sms", fault)

    async def clear_faults(self) -> None:
        """Forget these."""
        faults.clear(self._book, "sms")


def _told(code: str, message: str) -> dict[str, str]:
    return {"Code": code, "Message": message}
