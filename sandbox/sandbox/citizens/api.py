"""`POST /identity/v1/verify`: does this name belong to this identity number?

Signed as signed.py says. Answers `{"result", "trace_id"}` with
match, mismatch, not_found or unavailable, or 401/400 `{"code"}`. Magic names: 不可用 is
`unavailable`, 超时 keeps the caller waiting.
"""

from typing import Any

from pydantic import BaseModel

from ..register import Register, compared

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


class Room(Register):
    """The register of citizens."""

    name, path = "citizens", "/identity/v1/verify"

    def fill(self) -> None:
        with self.book.act() as db:
            db.executemany("INSERT OR IGNORE INTO citizens VALUES (?, ?)", SYNTHETIC.items())

    def answer(self, asked: dict[str, Any]) -> dict[str, Any] | None:
        """Name against number."""
        name, number = asked["name"], asked["id_number"]
        if not isinstance(name, str) or not _is_number(number):
            return None
        known = self.book.row("SELECT name FROM citizens WHERE id_number = ?", number)
        return {"result": compared(name, known["name"] if known is not None else None)}

    async def put(self, citizen: Citizen) -> None:
        """Enter somebody into the register."""
        with self.book.act() as db:
            db.execute(
                "INSERT OR REPLACE INTO citizens VALUES (?, ?)", (citizen.id_number, citizen.name)
            )


def _is_number(number: Any) -> bool:
    if not isinstance(number, str) or len(number) != 18 or not number.isascii():
        return False
    if not number[:17].isdigit():
        return False
    rest = sum(int(digit) * weight for digit, weight in zip(number, _WEIGHTS, strict=False)) % 11
    return number[17] == "10X98765432"[rest]
