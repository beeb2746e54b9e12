"""What may be seen of a licence: its face with the holder masked, and, for the holder alone, its
fields and its credential."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kit.clock import city_day
from kit.secrets import Vault, mask_id_number, mask_name

from . import credentials
from .models import Licence, sealed_at

HOLDER_CODE_TYPES = {"person": ("公民身份号码", "111"), "enterprise": ("统一社会信用代码", "001")}
NATIONAL_STATES = {
    "active": "01",
    "suspended": "02",
    "revoked": "03",
    "replaced": "04",
    "expired": "05",
}
LONG_TERM = "长期"


@dataclass(frozen=True)
class Face:
    """A licence as it may be shown: names and numbers masked."""

    row: Licence
    holder_name: str
    holder_number: str

    @property
    def metadata(self) -> dict[str, str]:
        """Elements of GB/T 36903 under their standard names."""
        row = self.row
        code_type, code_type_code = HOLDER_CODE_TYPES[row.holder_kind]
        until = row.valid_until.isoformat() if row.valid_until else LONG_TERM
        return {
            "ZZMC": row.name,
            "ZZLXDM": row.type_code,
            "ZZBH": row.serial,
            "ZZBS": row.number,
            "ZZBFJG": row.issuer_name,
            "ZZBFJGDM": row.issuer_code,
            "ZZBFRQ": city_day(row.issued_at).isoformat(),
            "CZZT": self.holder_name,
            "CZZTDM": self.holder_number,
            "CZZTDMLX": code_type,
            "CZZTDMLXDM": code_type_code,
            "ZZYXQQSRQ": row.valid_from.isoformat(),
            "ZZYXQJZRQ": until,
            "ZZZT": NATIONAL_STATES[row.state],
        }


def face(vault: Vault, row: Licence) -> Face:
    """What may be shown of a licence."""

    def unseal(column: str, sealed: bytes) -> str:
        return vault.open(sealed, bound_to=sealed_at("licence", column, row.id))

    return Face(
        row,
        mask_name(unseal("holder_name", row.holder_name)),
        mask_id_number(unseal("holder_number", row.holder_number)),
    )


def all_fields(vault: Vault, row: Licence) -> dict[str, Any]:
    """Every field of the licence, for its holder only."""
    sealed = vault.open(row.sealed_fields, bound_to=sealed_at("licence", "sealed_fields", row.id))
    return {**row.fields, **json.loads(sealed)}


def credential(vault: Vault, row: Licence, disclose: Sequence[str] | None) -> str:
    """The signed credential, for its holder only; with `disclose` only these fields come along."""
    whole = vault.open(row.credential, bound_to=sealed_at("licence", "credential", row.id))
    return whole if disclose is None else credentials.narrow(whole, disclose)
