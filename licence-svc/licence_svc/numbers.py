"""Licence numbers: 证照标识 of GB/T 36904.

`1.2.156.3005.2.<type>.<issuer>.<serial>.<edition>.<check>`: the type is the credit code of the
department that defines the type and three digits, the issuer a credit code, the serial at most 20
capitals and digits, the edition three digits, the check ISO 7064 MOD 37,36 over all four.
"""

import re

from stdnum.iso7064 import mod_37_36

ROOT = "1.2.156.3005.2"
_PARTS = re.compile(r"[0-9A-Z]{21}\.[0-9A-Z]{18}\.[0-9A-Z]{1,20}\.[0-9]{3}")


def compose(type_code: str, issuer: str, serial: str, edition: int) -> str:
    """The number of a licence. Raises ValueError when a part is not in its form."""
    body = f"{type_code}.{issuer}.{serial}.{edition:03d}"
    if not _PARTS.fullmatch(body):
        raise ValueError("a part of the licence number is not in its form")
    return f"{ROOT}.{body}.{mod_37_36.calc_check_digit(body.replace('.', ''))}"
