"""A licence is good exactly when it was issued and neither suspended nor revoked, for everybody
who asks (I16)."""

from collections.abc import Iterator

from ..evidence import Evidence

_MEANING = {"active": 0, "suspended": 2}
_INVALID = 1


def licence_status(evidence: Evidence) -> Iterator[str]:
    """The published status list says of each licence what its state says."""
    for licence in evidence.rows("licence", "licence"):
        wanted = _MEANING.get(licence["state"], _INVALID)
        said = evidence.statuses.get(licence["ordinal"])
        if said != wanted:
            yield f"{licence['id']} is {licence['state']}, the status list says {said}"
