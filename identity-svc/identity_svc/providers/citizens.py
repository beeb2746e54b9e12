"""The register of citizens: does a name belong to an identity number?"""

from . import Verdict
from .signed import Account, Register

__all__ = ["Account", "Citizens"]
NAME = "citizens"


class Citizens:
    """The RealNames of this house over the register."""

    def __init__(self, base_url: str, account: Account) -> None:
        self._register = Register(NAME, base_url, account)

    async def verify(self, name: str, id_number: str) -> Verdict:
        said = await self._register.ask("/identity/v1/verify", name=name, id_number=id_number)
        if said is None:
            return Verdict("unavailable", NAME)
        result, trace = said.get("result"), str(said.get("trace_id"))[:64]
        if result not in ("match", "mismatch", "not_found"):
            return Verdict("unavailable", NAME, trace)
        return Verdict(result, NAME, trace)

    async def close(self) -> None:
        await self._register.close()
