"""What the simulated registers share: one signed question, planned trouble, magic names, a book.

A register says for itself what it keeps, which questions are well put and what it answers.
"""

import json
import uuid
from abc import ABC, abstractmethod
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from . import faults, signed
from .book import Book
from .keys import RegisterSide


class Register(ABC):
    """A register and its control as one router: `path` takes the questions, `/_sim/NAME` new
    entries, `/_sim/NAME/faults` trouble to come."""

    name: str
    path: str

    def __init__(self, side: RegisterSide, book: Book, *, hang_seconds: float) -> None:
        self._side, self.book, self._hang_seconds = side, book, hang_seconds
        self.fill()
        self.router = APIRouter()
        add = self.router.add_api_route
        add(self.path, self.verify, methods=["POST"])
        add(f"/_sim/{self.name}", self.put, methods=["POST"], status_code=204)
        add(f"/_sim/{self.name}/faults", self.plan_fault, methods=["POST"], status_code=204)
        add(f"/_sim/{self.name}/faults", self.clear_faults, methods=["DELETE"], status_code=204)

    put: Any
    """The route that enters somebody."""

    @abstractmethod
    def fill(self) -> None:
        """Enter those who are there from the start."""

    @abstractmethod
    def answer(self, asked: dict[str, Any]) -> dict[str, Any] | None:
        """What the register says to a question; None when that is badly put. May raise KeyError
        and TypeError for the same."""

    async def verify(self, request: Request) -> Response:
        """Check the signature, suffer what is planned, then look it up."""
        body = await request.body()
        wrong = signed.wrong(request, body, self._side, self.book, self.name)
        if wrong is not None:
            return JSONResponse({"code": wrong}, 401)
        fault = faults.take(self.book, self.name, "verify")
        if fault is not None:
            if fault[0] == "timeout":
                return await faults.hang(request, self._hang_seconds)
            return JSONResponse({"code": "trouble"}, 500 if fault[0] == "500" else 429)
        try:
            asked = json.loads(body)
            said = self.answer(asked)
        except (ValueError, KeyError, TypeError):
            said = None
        if said is None:
            return JSONResponse({"code": "bad_request"}, 400)
        if asked["name"] == "超时":
            return await faults.hang(request, self._hang_seconds)
        return JSONResponse({**said, "trace_id": uuid.uuid4().hex})

    async def plan_fault(self, fault: faults.Fault) -> None:
        """What the next calls shall suffer."""
        faults.plan(self.book, self.name, fault)

    async def clear_faults(self) -> None:
        """Forget these."""
        faults.clear(self.book, self.name)


def compared(name: str, known: str | None) -> str:
    """The result for a name and the one that the register knows, if any."""
    if name == "不可用":
        return "unavailable"
    if known is None:
        return "not_found"
    return "match" if known == name else "mismatch"
