"""What the published document says of the OAuth endpoints: forms come in, and the errors of
RFC 6749 go out, beside the problems that the gateway and the kit answer with.

The endpoints read their forms by themselves: a parameter that is missing, repeated or unknown is
answered as the standards ask.
"""

from typing import Any

TEXT: dict[str, Any] = {"type": "string", "maxLength": 8192, "pattern": r"^[\x20-\x7e]+$"}
CLIENT = ("client_id", "client_secret", "client_assertion_type", "client_assertion")
REQUEST = (
    "response_type",
    "redirect_uri",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "prompt",
    "max_age",
    "acr_values",
)
_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_ERROR = {
    "schema": {
        "type": "object",
        "properties": {"error": {"type": "string"}, "error_description": {"type": "string"}},
        "required": ["error"],
    },
    "example": {"error": "invalid_request"},
}


def form(*optional: str, required: tuple[str, ...] = (), **shapes: Any) -> dict[str, Any]:
    """`openapi_extra=` of a route that takes a form; `shapes` describes fields closer."""
    names = (*required, *optional)
    schema = {
        "type": "object",
        "properties": {name: shapes.get(name, TEXT) for name in names},
        "required": list(required),
    }
    content = {"application/x-www-form-urlencoded": {"schema": schema}}
    return {"requestBody": {"required": bool(required), "content": content}}


def query(*names: str) -> dict[str, Any]:
    """`openapi_extra=` of a route that takes these in its query, all of them optional here."""
    return {"parameters": [{"name": n, "in": "query", "schema": TEXT} for n in names]}


def oauth_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses=` for errors of RFC 6749, 5.2 in JSON."""
    content = {"application/json": _ERROR, **_PROBLEM}
    return {
        status: {"description": "an error of RFC 6749, or a problem", "content": content}
        for status in statuses
    }


def page_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses=` for a page that tells a person what is wrong."""
    content = {"text/html": {"schema": {"type": "string"}}, **_PROBLEM}
    return {status: {"description": "a page", "content": content} for status in statuses}
