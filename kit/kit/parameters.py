"""What the published document says of parameters whose route says no more than `str`.

The gateway refuses addresses that two programs could read differently, so an id holds neither
slashes nor controls; entity tags are numbers. Saying so spares callers (and generators of calls)
requests that cannot succeed; what is checked at run time stays where it is.
"""

from typing import Any

from .vocabulary import of_parameter

SEGMENT = r"^[A-Za-z0-9_][A-Za-z0-9._~-]*$"
"""An id, code or number as one part of a path."""
WORDS = r"^[^\x00-\x1f\x7f/\\%.]+$"
"""Words of people as one part of a path, escaped: no slash, backslash, control or dot."""
ENTITY_TAGS = r'^(\*|(W/)?"[0-9]{1,9}")$'
"""What may stand in `If-Match` (RFC 9110, 13.1.1): `*` or a version as `ETag` told it."""
CURSOR = r"^[A-Za-z0-9._~-]+$"


def describe(operation: dict[str, Any]) -> None:
    """Complete the schemas of an operation's parameters where they are open."""
    for parameter in operation.get("parameters", []):
        schema, place = parameter["schema"], parameter["in"]
        if not parameter.get("description") and (said := of_parameter(parameter["name"])):
            parameter["description"] = said
        if place == "path" and schema.get("type") == "string":
            if not schema.keys() & {"pattern", "enum", "const", "format"}:
                schema |= {"pattern": SEGMENT, "maxLength": schema.get("maxLength", 200)}
        elif place == "header" and parameter["name"].lower() == "if-match":
            parameter["schema"] = {"type": "string", "pattern": ENTITY_TAGS, "examples": ['"3"']}
        elif place == "query" and parameter["name"] == "cursor":
            for kind in [schema, *schema.get("anyOf", [])]:
                if kind.get("type") == "string":
                    kind.setdefault("pattern", CURSOR)
