"""The departments and districts of the city: slow public reference data, kept in a file."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

from kit.rights import WHOLE_CITY


@cache
def places() -> dict[str, list[dict[str, Any]]]:
    """`departments` (code, name, unified credit code) and `districts` (code, name)."""
    read = json.loads(files(__package__).joinpath("data/places.json").read_text("utf-8"))
    return {"departments": read["departments"], "districts": read["districts"]}


def is_region(code: str) -> bool:
    """The whole city, or a district of it."""
    return code == WHOLE_CITY or any(entry["code"] == code for entry in places()["districts"])


def department_name(code: str) -> str:
    """The Chinese name of a department; the bare code of one that is not in the file."""
    names = {entry["code"]: entry["name"] for entry in places()["departments"]}
    return str(names.get(code, code))


def is_department(code: str) -> bool:
    return any(entry["code"] == code for entry in places()["departments"])
