"""OpenAPI of a service as it really behaves: problems on every operation, the idempotency header
where it is required, no 422 schema of FastAPI's own."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, iter_route_contexts

from .auth import Gate

PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance", "code", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "code": {"type": "string"},
        "request_id": {"type": ["string", "null"]},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "code", "message"],
                "properties": {
                    "pointer": {"type": "string"},
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                    "message_en": {"type": "string"},
                },
            },
        },
    },
}
KEY_HEADER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[\\x20-\\x7e]+$"},
    "description": "Repeat it when you retry: the same key gives the same answer and one effect.",
}
ANSWERS = {
    "400": "bad request",
    "401": "the access token that came along is not valid",
    "404": "not found",
    "422": "something needs a change; see errors",
    "429": "too many requests; see Retry-After",
    "502": "the service broke off",
    "503": "temporarily unavailable",
    "504": "no answer in time",
}
SCOPES = {
    "person": "openid",
    "enterprise": "openid",
    "staff": "openid",
    "partner": "events",
    "service": "internal",
}
"""What a token of each kind of caller was granted: the gateway asks for it, see its table."""
SIGNED_IN = {"401": "sign in first", "403": "not allowed"}
WRITING = {
    "409": "conflicts with the present state",
    "412": "stale",
    "413": "too large",
    "428": "If-Match is missing",
}


def _problem(description: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        "description": description,
        "content": {"application/problem+json": {"schema": schema}},
    }


def build(app: FastAPI) -> dict[str, Any]:
    """The document, built once and kept on the app."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, routes=app.routes, openapi_version="3.1.0"
        )
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas.pop("HTTPValidationError", None)
        schemas.pop("ValidationError", None)
        schemas["Problem"] = PROBLEM
        granted = dict(_granted(app))
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                _complete(method, operation)
                if operation.get("security"):
                    scopes = granted[path, method]
                    operation["security"] = [{"beam": [scope]} for scope in scopes]
        app.openapi_schema = document
    return app.openapi_schema


def _complete(method: str, operation: dict[str, Any]) -> None:
    answers = operation["responses"]
    wanted = dict(ANSWERS)
    if operation.get("security"):
        wanted |= SIGNED_IN
    if method != "get":
        wanted |= WRITING
    if answers.get("422", {}).get("description") == "Validation Error":
        answers.pop("422")
    for status, description in wanted.items():
        answers.setdefault(status, _problem(description))
    if method == "post" and "201" in answers:
        operation.setdefault("parameters", []).append(KEY_HEADER)


def _granted(app: FastAPI) -> Iterator[tuple[tuple[str, str], list[str]]]:
    """Path and method → scopes of which a caller's token needs one, from the kinds of callers that
    the route's gate lets in."""
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, APIRoute):
            kinds = {kind for gate in _gates(route.dependant) for kind in gate.kinds or SCOPES}
            for method in route.methods or ():
                found = sorted({SCOPES[kind] for kind in kinds})
                yield (route.path_format, method.lower()), found


def _gates(dependant: Dependant) -> Iterator[Gate]:
    for inner in dependant.dependencies:
        if isinstance(inner.call, Gate):
            yield inner.call
        yield from _gates(inner)
