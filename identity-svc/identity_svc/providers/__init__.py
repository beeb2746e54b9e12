"""Registers that know who a person is, one file per party."""

from dataclasses import dataclass
from typing import Literal, Protocol

Result = Literal["match", "mismatch", "not_found", "unavailable"]


@dataclass(frozen=True)
class Verdict:
    """What a register says; `trace` finds the question again on its side."""

    result: Result
    provider: str
    trace: str | None = None


class RealNames(Protocol):
    """Checks a name against an identity number."""

    async def verify(self, name: str, id_number: str) -> Verdict:
        """Whatever goes wrong on the way is `unavailable`: asking is harmless, ask again."""

    async def close(self) -> None: ...
