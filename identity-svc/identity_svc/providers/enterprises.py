"""The register of enterprises: is this the firm's name, and is this its legal representative?"""

from . import FirmVerdict
from .signed import Account, Register

__all__ = ["Account", "Enterprises"]
NAME = "enterprises"


class Enterprises:
    """The Firms of this house over the register."""

    def __init__(self, base_url: str, account: Account) -> None:
        self._register = Register(NAME, base_url, account)

    async def verify(self, uscc: str, name: str, id_number: str) -> FirmVerdict:
        said = await self._register.ask(
            "/enterprises/v1/verify", uscc=uscc, name=name, id_number=id_number
        )
        if said is None:
            return FirmVerdict("unavailable", NAME)
        result, trace = said.get("result"), str(said.get("trace_id"))[:64]
        if result not in ("match", "mismatch", "not_found"):
            return FirmVerdict("unavailable", NAME, trace)
        represents = result == "match" and said.get("legal_representative") is True
        return FirmVerdict(result, NAME, trace, legal_representative=represents)

    async def close(self) -> None:
        await self._register.close()
