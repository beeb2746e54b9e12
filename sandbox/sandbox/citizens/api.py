"""`POST /identity/v1/verify`: does this name belong to this identity number?

Signed as signed.py says. Answers `{"result", "trace_id"}` with
match, mismatch, not_found or unavailable, or 401/400 `{"code"}`. Magic names: 不可用 is
`unavailable`, 超时 keeps the caller waiting.
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

_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
SYNTHETIC = {
    "310115199003077411": "张三",
    "31011519881102302X": "李四",
    "11010519491231002X": "王五",
    "440524188001010014": "赵六",
}


class Citizen(BaseModel):
    """Somebody who shall be in the register from now on."""

    id_number: str
    name: str


class Room:
    """The register and its control as one router."""

    def __init__(self, side: RegisterSide, book: Book, *, hang_seconds: float) -> None:
        self._side, self._book, self._hang_seconds = side, book, hang_seconds
        with book.act() as db:
            db.executemany("INSERT OR IGNORE INTO citizens VALUES (?, ?)", SYNTHETIC.items())
        self.router = APIRouter()
        add = self.router.add_api_route
        add("/identity/v1/verify", self.verify, methods=["POST"])
        add("/_sim/citizens", self.put, methods=["POST"], status_code=204)
        add("/_sim/citizens/faults", self.plan_fault, methods=["POST"], status_code=204)
        add("/_sim/citizens/faults", self.clear_faults, methods=["DELETE"], status_code=204)

    async def verify(self, request: Request) -> Response:
        """Check the signature, then name against number."""
        body = await request.body()
        wrong = signed.wrong(request, body, self._side, self._book, "citizens")
        if wrong is not None:
            return JSONResponse({"code": wrong}, 401)
        fault = faults.take(self._book, "citizens", "verify")
        if fault is not None:
            if fault[0] == "timeout":
                return await faults.hang(request, self._hang_seconds)
            return JSONResponse({"code": "trouble"}, 500 if fault[0] == "500" else 429)
        try:
            asked = json.loads(body)
            name, number = asked["name"], asked["id_number"]
        except (ValueError, KeyError, TypeError):
            return JSONResponse({"code": "bad_request"}, 400)
        if not isinstance(name, str) or not _is_number(number):
            return JSONResponse({"code": "bad_request"}, 400)
        if name == "超时":
            return await faults.hang(request, self._hang_seconds)
        known = self._book.row("SELECT name FROM citizens WHERE id_number = ?", number)
        if name == "不可用":
            result = "unavailable"
        elif known is None:
            result = "not_found"
        else:
            result = "match" if known["name"] == name else "mismatch"
        return JSONResponse({"result": result, "trace_id": uuid.uuid4().hex})

    async def put(self, citizen: Citizen) -> None:
        """Enter somebody into the register."""
        with self._book.act() as db:
            db.execute(
                "INSERT OR REPLACE INTO citizens VALUES (?, ?)", (citizen.id_number, citizen.name)
            )

    async def plan_fault(self, fault: faults.Fault) -> None:
        """What the next calls shall suffer."""
        faults.plan(self._book, "citizens", fault)

    async def clear_faults(self) -> None:
        """Forget these."""
        faults.clear(self._book, "citizens")


def _is_number(number: Any) -> bool:
    if not isinstance(number, str) or len(number) != 18 or not number.isascii():
        return False
    if not number[:17].isdigit():
        return False
    rest = sum(int(digit) * weight for digit, weight in zip(number, _WEIGHTS, strict=False)) % 11
    return number[17] == "10X98765432"[rest]
