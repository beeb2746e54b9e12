"""What was answered with 2xx is there after any fault (I1), and a key has one answer (I2)."""

from collections.abc import Iterator

from ..evidence import Evidence
from .wrong import Lasting

# What an answered id belongs to, by its prefix.
_TABLES = {
    "case": ("case", "case"),
    "corr": ("case", "correction"),
    "task": ("case", "task"),
    "pay": ("payment", "payment_order"),
    "try": ("payment", "attempt"),
    "lic": ("licence", "licence"),
    "addr": ("logistics", "address"),
    "ship": ("logistics", "shipment"),
    "rating": ("helpdesk", "rating"),
}


def accepted(evidence: Evidence) -> Iterator[str]:
    """Every answered thing is stored, at the answered version or beyond, and so is the answer
    to its key."""
    kept = {
        row["key"]
        for tables in evidence.databases.values()
        for row in tables.get("idempotency_key", [])
        if row["status"] is not None
    }
    stored = {
        prefix: {row["id"]: row.get("version") for row in evidence.rows(*where)}
        for prefix, where in _TABLES.items()
    }
    for answer in evidence.answers:
        if not 200 <= answer.status < 300:
            continue
        what = f"{answer.method} {answer.path} was answered {answer.status}"
        # An attempt has its own identity instead of a stored answer, see payment-svc's routes.
        stores = answer.method != "GET" and not answer.path.endswith("/attempts")
        if stores and answer.key is not None and answer.key not in kept:
            yield Lasting(f"{what}, but its key is not stored")
        id_ = answer.body.get("id") or answer.body.get("attempt_id")
        prefix = str(id_).partition("_")[0]
        if prefix not in stored:
            continue
        if id_ not in stored[prefix]:
            yield Lasting(f"{what}, but {id_} does not exist")
        elif isinstance(answer.body.get("version"), int) and prefix == "case":
            version = stored[prefix][id_]
            if version is not None and version < answer.body["version"]:
                yield Lasting(f"{what} at version {answer.body['version']}, {id_} has {version}")


def answers_fit(evidence: Evidence) -> Iterator[str]:
    """Who asked for one thing by its id was answered with that thing and no other."""
    for answer in evidence.answers:
        asked, given = answer.path.rpartition("/")[2], str(answer.body.get("id"))
        alike = asked.partition("_")[0] == given.partition("_")[0]
        if answer.status == 200 and "_" in asked and alike and asked != given:
            yield Lasting(f"{answer.method} {answer.path} was answered with {given}")


def same_key_same_answer(evidence: Evidence) -> Iterator[str]:
    """However often a key was sent, what it was answered with success is the same."""
    first: dict[str, tuple[int, str]] = {}
    for answer in evidence.answers:
        if answer.key is None or not 200 <= answer.status < 300:
            continue
        if answer.path.endswith("/attempts"):
            continue
        given = (answer.status, answer.digest)
        if first.setdefault(answer.key, given) != given:
            yield Lasting(f"{answer.method} {answer.path}: the same key had two answers")
