"""One line for every write of a member of staff: who, what kind of act, how it ended. The
address is told as its template: the line holds no value of the request."""

import json
import logging
from collections.abc import Iterable
from importlib.resources import files

from .exchange import Exchange

audit = logging.getLogger("audit")
READS = frozenset({b"GET", b"HEAD", b"OPTIONS"})


class Templates:
    """Finds `/v1/cases/{case_id}/accept` for the path of a request."""

    def __init__(self, templates: Iterable[str]) -> None:
        self._by_length: dict[int, list[list[str]]] = {}
        for template in templates:
            segments = template.split("/")
            self._by_length.setdefault(len(segments), []).append(segments)
        for found in self._by_length.values():
            # A plain word before a variable: /licences/in-force is not /licences/{id}.
            found.sort(key=lambda segments: [segment.startswith("{") for segment in segments])

    @classmethod
    def published(cls) -> "Templates":
        """Those of the merged reference in the package; none if it has not been generated."""
        file = files("gateway").joinpath("openapi.json")
        return cls(json.loads(file.read_bytes())["paths"] if file.is_file() else ())

    def of(self, path: str) -> str | None:
        segments = path.split("/")
        for template in self._by_length.get(len(segments), ()):
            if all(t.startswith("{") or t == s for t, s in zip(template, segments, strict=True)):
                return "/".join(template)
        return None


def note(x: Exchange, templates: Templates) -> None:
    """Write the line if `x` was a write by staff. A status of 0 says that the client left before
    the answer: the service may have done it."""
    caller, route = x.caller, x.route
    if caller is None or route is None or caller.kind != "staff" or x.method in READS:
        return
    fields = {
        "who": caller.actor or caller.subject,
        "dept": caller.dept,
        "method": x.method.decode("ascii"),
        "route": templates.of(x.path.decode("latin-1")) or route.prefix,
        "to": route.service,
        "status": x.status,
        "request_id": x.request_id.decode("ascii"),
    }
    audit.info("staff write", extra={"fields": fields})
