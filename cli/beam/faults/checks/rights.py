"""What is kept cannot be changed by who keeps it (I6); what staff did stands in the trail, and
the trail's seals hold (I13)."""

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from sqlalchemy import Table

from ...programs import SERVICES
from ..evidence import Evidence
from .wrong import Lasting


@cache
def kept() -> dict[str, list[str]]:
    """Service → its tables that the running service may only insert into and read."""
    found: dict[str, list[str]] = {}
    for program in SERVICES:
        if find_spec(f"{program.package}.models") is None:
            continue
        models: Any = import_module(f"{program.package}.models")
        tables: list[Table] = list(models.Base.metadata.tables.values())
        found[program.name] = [t.name for t in tables if t.info.get("append_only")]
    return found


def append_only(evidence: Evidence) -> Iterator[str]:
    """The running services' roles may neither update, delete nor truncate what is append-only."""
    for service, tables in kept().items():
        rights = {row["relname"]: row["rights"] for row in evidence.rows(service, "rights")}
        for table in ("staff_action", "audit_block", "audit_seal", *tables):
            if table not in rights:
                yield Lasting(f"{service} has no table {table}")
            elif rights[table]:
                yield Lasting(f"{service} may {', '.join(rights[table])} in {table}")


def staff_trail(evidence: Evidence) -> Iterator[str]:
    """Each writing request of a member of the staff that was answered with success has its line,
    and the line names what the path named."""
    lines = {
        row["request_id"]: row
        for service in evidence.databases
        for row in evidence.rows(service, "staff_action")
    }
    for answer in evidence.answers:
        if answer.method == "GET" or not 200 <= answer.status < 300 or answer.replayed:
            continue
        if answer.staff and answer.request_id not in lines:
            yield Lasting(f"{answer.method} {answer.path} of {answer.staff} is not in the trail")
    for line in lines.values():
        if not line["actor"].startswith("stf_"):
            yield Lasting(f"the trail names {line['actor']}, who is no member of the staff")


def sealed(evidence: Evidence) -> Iterator[str]:
    """Every sealed row is as it was, the chain is whole, and its head is the one written down
    elsewhere; every line of the trail gets its seal."""
    for service in evidence.databases:
        for row in evidence.rows(service, "unfit"):
            yield Lasting(row["what"])
        for row in evidence.rows(service, "unsealed"):
            yield f"{service} has not sealed {row['id']}"
