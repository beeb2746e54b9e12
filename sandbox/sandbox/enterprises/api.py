"""`POST /enterprises/v1/verify`: does this name belong to this unified social credit code, and is
the person with this identity number the legal representative?

Signed as signed.py says. Answers `{"result", "legal_representative", "trace_id"}` with match,
mismatch, not_found or unavailable and true or false, or 401/400 `{"code"}`. Magic names: 不可用
is `unavailable`, 超时 keeps the caller waiting.
"""

import json
import uuid
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from .. import faults, signed
from ..book import Book
from ..keys import RegisterSide

_LETTERS = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_WEIGHTS = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)
SYNTHETIC = (
    ("91310115MA1K3AB43E", "上海浦江味道餐饮管理有限公司", "310115199003077411"),
    ("91310115MA1K3CD5XR", "上海五谷丰登食品有限公司", "11010519491231002X"),
)


class Firm(BaseModel):
    """A firm that shall be in the register from now on, with its legal representative."""

    uscc: str
    name: str
    representative: str


class Room:
    """The register and its control as one router."""

    def __init__(self, side: RegisterSide, book: Book, *, hang_seconds: float) -> None:
        self._side, self._book, self._hang_seconds = side, book, hang_seconds
        with book.act() as db:
            db.executemany("INSERT OR IGNORE INTO enterprises VALUES (?, ?, ?)", SYNTHETIC)
        self.router = APIRouter()
        add = self.router.add_api_route
        add("/enterprises/v1/verify", self.verify, methods=["POST"])
        add("/_sim/enterprises", self.put, methods=["POST"], status_code=204)
        add("/_sim/enterprises/faults", self.plan_fault, methods=["POST"], status_code=204)
        add("/_sim/enterprises/faults", self.clear_faults, methods=["DELETE"], status_code=204)

    async def verify(self, request: Request) -> Response:
        """Check the signature, then the firm, then its legal representative."""
        body = await request.body()
        wrong = signed.wrong(request, body, self._side, self._book, "enterprises")
        if wrong is not None:
            return JSONResponse({"code": wrong}, 401)
        fault = faults.take(self._book, "enterprises", "verify")
        if fault is not None:
            if fault[0] == "timeout":
                return await faults.hang(request, self._hang_seconds)
            return JSONResponse({"code": "trouble"}, 500 if fault[0] == "500" else 429)
        try:
            asked = json.loads(body)
            uscc, name, person = asked["uscc"], asked["name"], asked["id_number"]
        except (ValueError, KeyError, TypeError):
            return JSONResponse({"code": "bad_request"}, 400)
        if not isinstance(name, str) or not isinstance(person, str) or not _is_code(uscc):
            return JSONResponse({"code": "bad_request"}, 400)
        if name == "超时":
            return await faults.hang(request, self._hang_seconds)
        known = self._book.row("SELECT name, representative FROM enterprises WHERE uscc = ?", uscc)
        if name == "不可用":
            result = "unavailable"
        elif known is None:
            result = "not_found"
        else:
            result = "match" if known["name"] == name else "mismatch"
        is_theirs = known is not None and result == "match" and known["representative"] == person
        said = {"result": result, "legal_representative": is_theirs, "trace_id": uuid.uuid4().hex}
        return JSONResponse(said)

    async def put(self, firm: Firm) -> None:
        """Enter a firm into the register, or its new name or representative."""
        with self._book.act() as db:
            db.execute(
                "INSERT OR REPLACE INTO enterprises VALUES (?, ?, ?)",
                (firm.uscc, firm.name, firm.representative),
            )

    async def plan_fault(self, fault: faults.Fault) -> None:
        """What the next calls shall suffer."""
        faults.plan(self._book, "enterprises", fault)

    async def clear_faults(self) -> None:
        """Forget these."""
        faults.clear(self._book, "enterprises")


def _is_code(code: Any) -> bool:
    """GB 32100: 18 of these letters, the last of which fits the others."""
    if not isinstance(code, str) or len(code) != 18 or not set(code) <= set(_LETTERS):
        return False
    total = sum(_LETTERS.index(c) * w for c, w in zip(code, _WEIGHTS, strict=False))
    return code[17] == _LETTERS[-total % 31]
