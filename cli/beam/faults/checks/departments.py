"""A department's system hears every event of its department and none of another's (I14)."""

from collections.abc import Iterator

from ..evidence import Evidence
from .wrong import Lasting


def departments(evidence: Evidence) -> Iterator[str]:
    """Each department's durable against all outboxes. Hearing twice is allowed."""
    for dept, heard in evidence.heard.items():
        ids = {event["id"] for event in heard}
        due = {event.id: event for event in evidence.told if event.dept == dept}
        for id_ in due.keys() - ids:
            yield f"{dept} never heard {due[id_].type} of {due[id_].subject}"
        for foreign in heard:
            if foreign["dept"] != dept:
                yield Lasting(f"{dept} heard {foreign['type']} of {foreign['dept']}")
    for event in evidence.told:
        # Everything about a case is some department's matter.
        if event.data.get("case_id") and event.dept not in evidence.heard:
            yield Lasting(f"{event.type} of {event.subject} belongs to no department")
