"""`POST /enterprises/v1/verify`: does this name belong to this unified social credit code, and is
the person with this identity number the legal representative?

Signed as signed.py says. Answers `{"result", "legal_representative", "trace_id"}` with match,
mismatch, not_found or unavailable and true or false, or 401/400 `{"code"}`. Magic names: 不可用
is `unavailable`, 超时 keeps the caller waiting.
"""

from typing import Any

from pydantic import BaseModel

from ..register import Register, compared

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


class Room(Register):
    """The register of enterprises."""

    name, path = "enterprises", "/enterprises/v1/verify"

    def fill(self) -> None:
        with self.book.act() as db:
            db.executemany("INSERT OR IGNORE INTO enterprises VALUES (?, ?, ?)", SYNTHETIC)

    def answer(self, asked: dict[str, Any]) -> dict[str, Any] | None:
        """The firm, then its legal representative."""
        uscc, name, person = asked["uscc"], asked["name"], asked["id_number"]
        if not isinstance(name, str) or not isinstance(person, str) or not _is_code(uscc):
            return None
        known = self.book.row("SELECT name, representative FROM enterprises WHERE uscc = ?", uscc)
        result = compared(name, known["name"] if known is not None else None)
        is_theirs = known is not None and result == "match" and known["representative"] == person
        return {"result": result, "legal_representative": is_theirs}

    async def put(self, firm: Firm) -> None:
        """Enter a firm into the register, or its new name or representative."""
        with self.book.act() as db:
            db.execute(
                "INSERT OR REPLACE INTO enterprises VALUES (?, ?, ?)",
                (firm.uscc, firm.name, firm.representative),
            )


def _is_code(code: Any) -> bool:
    """GB 32100: 18 of these letters, the last of which fits the others."""
    if not isinstance(code, str) or len(code) != 18 or not set(code) <= set(_LETTERS):
        return False
    total = sum(_LETTERS.index(c) * w for c, w in zip(code, _WEIGHTS, strict=False))
    return code[17] == _LETTERS[-total % 31]
