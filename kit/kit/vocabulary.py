"""What names mean that occur all over the reference, said once: parameters, fields, headers.

A route or a field that says something itself keeps its own words; only what is silent gets these.
"""

from typing import Any

PARAMETERS = {
    "if-match": "The `ETag` that you read. An older one is `412 stale`; where it is required, none "
    "is `428 condition_required`.",
    "limit": "How many at most; more than 100 is cut to 100.",
    "cursor": "From `next`; do not build it.",
    "state": "Only those in this state.",
    "dept": "Only those of this department, by its code.",
    "all": "Also those that are settled.",
    "kind": "Only those of this kind.",
    "type": "Only those of this type.",
    "channel": "Only those of this channel.",
    "licence_type": "Only those of this type, by its code.",
    "side": "Only those in which you are this side.",
    "event_type": "As `dataschema` names it, or an event's whole `type`.",
    "year": "A calendar year.",
    "number": "The number of a version, counted from 1.",
    "n": "The number of a list, counted from 0.",
    "code": "A code of the catalogue, as the lists name it.",
    "term": "The everyday word.",
    "key": "The name of the fact.",
    "region": "GB/T 2260, six digits.",
}
FIELDS = {
    "id": "Names it for good; take it as it is, its form may change.",
    "state": "Where it stands.",
    "items": "What this page holds.",
    "next": "The address of the next page, ready to ask; null on the last one.",
    "case_id": "Id of the case that it belongs to.",
    "reason_code": "The reason, to decide by.",
    "reason": "The reason, in words for people.",
    "version": "Grows with every change; the number within the `ETag`.",
    "region": "GB/T 2260, six digits.",
    "dept": "Code of a department, see `GET /v1/departments`.",
    "lead_dept": "Code of the department that leads.",
    "uscc": "Unified social credit code (GB 32100), 18 characters.",
    "expires_in": "Seconds from now.",
    "phone": "Mainland mobile number, 11 digits; masked in answers.",
    "mobile": "Mainland mobile number, 11 digits; masked in answers.",
    "id_number": "Resident identity number (GB 11643), 18 characters; masked in answers.",
    "item_code": "Code of the service item, see `GET /v1/items`.",
    "name_en": "The name in English.",
}
_FORMATS = {
    "date-time": "A moment, RFC 3339 in UTC.",
    "date": "A calendar day in Shanghai.",
}
HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-Id": {
        "description": "Yours when it was well-formed, else a new one. Name it when you ask us "
        "for help: it is in our logs and in every event that followed.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{8,64}$"},
    },
    "RateLimit-Policy": {
        "description": "How many requests (`q`) in how many seconds (`w`).",
        "schema": {"type": "string", "examples": ['"default";q=200;w=2']},
    },
    "RateLimit": {
        "description": "How many are left (`r`), and in how many seconds all are (`t`).",
        "schema": {"type": "string", "examples": ['"default";r=199;t=1']},
    },
    "Retry-After": {
        "description": "Seconds to wait before you ask again.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "ETag": {
        "description": "The version, for `If-Match` and `If-None-Match`.",
        "schema": {"type": "string", "examples": ['"3"']},
    },
    "Location": {
        "description": "Where to read what was created.",
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "Link": {
        "description": 'The next page, as `next` says: `<…>; rel="next"`. Not on the last one.',
        "schema": {"type": "string"},
    },
    "Idempotent-Replayed": {
        "description": "`true`: this is the first answer again; nothing was done anew.",
        "schema": {"type": "string", "const": "true"},
    },
    "Deprecation": {
        "description": "Since when it is not to be used any more (RFC 9745).",
        "schema": {"type": "string", "examples": ["@1798761600"]},
    },
    "Sunset": {
        "description": "When it goes (RFC 8594); `Link` names what to use instead.",
        "schema": {"type": "string", "examples": ["Thu, 01 Jul 2027 00:00:00 GMT"]},
    },
    "Allow": {"description": "The methods that fit.", "schema": {"type": "string"}},
    "WWW-Authenticate": {
        "description": "What is missing (RFC 6750): `error`, `scope`, or `acr_values` to ask for.",
        "schema": {"type": "string"},
    },
}


def of_parameter(name: str) -> str | None:
    """What a parameter of this name means; None when nothing general can be said."""
    known = PARAMETERS.get(name.lower())
    return known if known or not name.endswith("_id") else f"Id of the {_words(name[:-3])}."


def of_field(name: str, schema: dict[str, Any]) -> str | None:
    """The same of a field in a body."""
    if name in FIELDS:
        return FIELDS[name]
    if name.endswith("_fen"):
        return "In fen: hundredths of a yuan, a whole number."
    kinds = (schema, *schema.get("anyOf", ()))
    for kind in kinds:
        if kind.get("format") in _FORMATS:
            return _FORMATS[kind["format"]]
    if name.endswith("_id") and any(kind.get("type") == "string" for kind in kinds):
        return f"Id of the {_words(name[:-3])}."
    return None


def describe(schemas: dict[str, Any]) -> None:
    """Say of every silent field in these schemas what its name means."""
    for schema in schemas.values():
        for name, field in schema.get("properties", {}).items():
            if not field.get("description") and (said := of_field(name, field)):
                field["description"] = said


def headed(answers: dict[str, Any], status: str, *names: str) -> None:
    """Declare header fields on the answer of this status, if there is one."""
    if status in answers:
        heads = answers[status].setdefault("headers", {})
        for name in names:
            heads.setdefault(name, {"$ref": f"#/components/headers/{name}"})


def _words(name: str) -> str:
    return name.replace("_", " ")
