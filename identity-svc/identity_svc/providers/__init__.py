"""Parties that know who a person or a firm is, one file each."""

from dataclasses import dataclass
from typing import Literal, Protocol

Result = Literal["match", "mismatch", "not_found", "unavailable"]


@dataclass(frozen=True)
class Verdict:
    """What a register says; `trace` finds the question again on its side."""

    result: Result
    provider: str
    trace: str | None = None


@dataclass(frozen=True)
class FirmVerdict(Verdict):
    """What a register of firms says; `legal_representative` only of a firm that matches."""

    legal_representative: bool = False


class RealNames(Protocol):
    """Checks a name against an identity number."""

    async def verify(self, name: str, id_number: str) -> Verdict:
        """Whatever goes wrong on the way is `unavailable`: asking is harmless, ask again."""

    async def close(self) -> None: ...


class Firms(Protocol):
    """Checks a firm's name against its unified social credit code, and who represents it."""

    async def verify(self, uscc: str, name: str, id_number: str) -> FirmVerdict:
        """`id_number`: of the person who says to be the legal representative. Whatever goes wrong
        on the way is `unavailable`: asking is harmless, ask again."""

    async def close(self) -> None: ...


class CodeRefused(Exception):
    """The code is unknown, used or too old, or its party holds the person for risky."""


class NoAnswer(Exception):
    """No answer of use; a new code may be tried in a moment."""


class MiniProgram(Protocol):
    """Knows the users of a mini-program. Both raise CodeRefused and NoAnswer."""

    async def user(self, code: str) -> str:
        """A stable name of the user behind a sign-in code; it is personal data."""

    async def phone(self, code: str) -> str:
        """The mainland number, 11 digits, behind a code of the number's button."""

    async def close(self) -> None: ...
