"""OpenAPI of a service as it really behaves: every problem that an operation may answer with, the
idempotency header where it is required, examples, links to what comes next, the scopes that a
caller's token needs; no 422 schema of FastAPI's own."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, iter_route_contexts

from . import errors, idempotency, links, parameters, vocabulary
from .auth import Gate
from .errors import Problem
from .raised import problems_of, raised_by
from .samples import NoSample, Sampler

PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance", "code", "request_id"],
    "properties": {
        "type": {
            "type": "string",
            "format": "uri-reference",
            "description": "Leads to the explanation of the code.",
        },
        "title": {
            "type": "string",
            "description": "The kind of problem, in the language of `Content-Language`.",
        },
        "status": {"type": "integer", "description": "As in the status line."},
        "detail": {"type": "string", "description": "What happened, why, and what to do."},
        "instance": {"type": "string", "description": "The path that was asked."},
        "code": {"type": "string", "description": "Stable: decide by this one."},
        "request_id": {"type": ["string", "null"], "description": "Name it when you ask for help."},
        "errors": {
            "type": "array",
            "description": "Field by field, where fields are concerned.",
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
    "schema": {
        "type": "string",
        "minLength": 1,
        "maxLength": 255,
        # Quoted, as the IETF's draft has it, or not; nothing but blanks, or nothing between the
        # quotes, is no key.
        "pattern": r'^("[\x20-\x7e]+"|[\x21\x23-\x7e][\x20-\x7e]*)$',
    },
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
_DONE = {"200": "as asked", "201": "created", "204": "done; there is nothing to say"}
_USUAL: dict[int, type[Problem]] = {
    kind.status: kind
    for kind in (
        Problem,
        errors.Unauthenticated,
        errors.Forbidden,
        errors.NotFound,
        errors.Conflict,
        errors.Stale,
        errors.Invalid,
        errors.ConditionRequired,
        errors.TooMany,
        errors.Unavailable,
    )
}
"""Stands for a status of which nothing more is known."""


def problem(description: str) -> dict[str, Any]:
    """An answer of the shape that every error has."""
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
        vocabulary.describe(schemas)
        routes = dict(_routes(app))
        sampler = Sampler(schemas)
        told: dict[str, type[Problem]] = {}
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                route = routes[path, method]
                _complete(route, method, operation)
                parameters.describe(operation)
                told |= _problems(operation, _raised(route, method, operation))
                _examples(operation, sampler)
                if operation.get("security"):
                    operation["security"] = [{"beam": [scope]} for scope in _scopes(route)]
        document["components"]["examples"] = {
            code: example_of(kind.status, code, kind.title) for code, kind in sorted(told.items())
        }
        document["components"]["headers"] = vocabulary.HEADERS
        for scheme in document["components"].get("securitySchemes", {}).values():
            scheme.setdefault("bearerFormat", "JWT")
        _heads(document)
        links.add(document)
        app.openapi_schema = document
    return app.openapi_schema


def _complete(route: APIRoute, method: str, operation: dict[str, Any]) -> None:
    answers = operation["responses"]
    if "201" in answers and route.status_code is None:
        # What a standard wants answered with 201, without a key of ours.
        answers.pop("200", None)
    wanted = dict(ANSWERS)
    if operation.get("security"):
        wanted |= SIGNED_IN
    if method != "get":
        wanted |= WRITING
    if answers.get("422", {}).get("description") == "Validation Error":
        answers.pop("422")
    for status, description in wanted.items():
        answers.setdefault(status, problem(description))
    if method == "post" and route.status_code == 201:
        operation.setdefault("parameters", []).append(KEY_HEADER)


def _heads(document: dict[str, Any]) -> None:
    """The header fields that go with each answer."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            answers = operation["responses"]
            sent = {p["name"].lower() for p in operation.get("parameters", ())}
            for status in answers:
                vocabulary.headed(answers, status, "X-Request-Id")
                if status.startswith("2"):
                    if "304" in answers or "if-match" in sent:
                        vocabulary.headed(answers, status, "ETag")
                    if operation.get("deprecated"):
                        vocabulary.headed(answers, status, "Deprecation", "Sunset")
                    if "cursor" in sent:
                        vocabulary.headed(answers, status, "Link")
                    if "idempotency-key" in sent:
                        vocabulary.headed(answers, status, "Idempotent-Replayed")
            vocabulary.headed(answers, "304", "ETag")
            vocabulary.headed(answers, "401", "WWW-Authenticate")
            vocabulary.headed(answers, "429", "Retry-After")
            vocabulary.headed(answers, "503", "Retry-After")
            if method == "post" and _read_below(path, document["paths"]):
                vocabulary.headed(answers, "201", "Location")
            for status, answer in answers.items():
                if answer.get("description") == "Successful Response":
                    answer["description"] = _DONE.get(status, "done")


def _read_below(path: str, paths: dict[str, Any]) -> bool:
    """Whether what is created at this address has one of its own to be read at."""
    return any(
        other.startswith(f"{path}/{{")
        and other.count("/") == path.count("/") + 1
        and "get" in found
        for other, found in paths.items()
    )


def _routes(app: FastAPI) -> Iterator[tuple[tuple[str, str], APIRoute]]:
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, APIRoute):
            for method in route.methods or ():
                yield (route.path_format, method.lower()), route


def _scopes(route: APIRoute) -> list[str]:
    """A caller's token needs one of these: from the kinds of callers that the gate lets in."""
    kinds = {kind for gate in _gates(route.dependant) for kind in gate.kinds or SCOPES}
    return sorted({SCOPES[kind] for kind in kinds})


def _gates(dependant: Dependant) -> Iterator[Gate]:
    for inner in dependant.dependencies:
        if isinstance(inner.call, Gate):
            yield inner.call
        yield from _gates(inner)


def _raised(route: APIRoute, method: str, operation: dict[str, Any]) -> Iterator[type[Problem]]:
    """What the route's own code may answer with, and what the kit does around every route."""
    package = (getattr(route.endpoint, "__module__", "") or "").split(".")[0]
    yield from problems_of(route.dependant, package)
    yield from (errors.Unavailable, errors.Invalid)
    if operation.get("security"):
        yield from (errors.Unauthenticated, errors.Forbidden)
    if "application/json" in operation.get("requestBody", {}).get("content", {}):
        yield errors.UnsupportedMediaType
    if method != "get":
        for function in (idempotency.read, idempotency.take):
            yield from raised_by(function, within="kit")


def _problems(
    operation: dict[str, Any], raised: Iterable[type[Problem]]
) -> dict[str, type[Problem]]:
    """Name each code on the answer of its status; returns the codes with what they are."""
    by_code = {kind.code: kind for kind in raised}
    answers = operation["responses"]
    for code, kind in sorted(by_code.items()):
        status = str(kind.status)
        if status not in answers:
            answers[status] = problem(kind.title[1])
        answers[status].setdefault("content", problem("")["content"])
        add_code(answers[status], code)
    for status, answer in answers.items():
        usual = _USUAL.get(int(status))
        content = answer.get("content", {}).get("application/problem+json")
        if usual is not None and content is not None and not content.get("examples"):
            add_code(answer, usual.code)
            by_code[usual.code] = usual
    return by_code


def add_code(answer: dict[str, Any], code: str) -> None:
    """List a problem code on an answer that is a problem."""
    content = answer.get("content", {}).get("application/problem+json")
    if content is not None:
        content.setdefault("examples", {})[code] = {"$ref": f"#/components/examples/{code}"}


def example_of(status: int, code: str, title: tuple[str, str]) -> dict[str, Any]:
    """The example of a problem, as it stands in `components`."""
    value: dict[str, Any] = {
        "type": f"/docs/errors#{code}",
        "title": title[0],
        "status": status,
        "detail": f"{title[0]}。",
        "instance": "/v1/things/1",
        "code": code,
        "request_id": "5f2b6f0e9d6c4c3c8f6e0a1b2c3d4e5f",
    }
    if status == 422:
        field = {"pointer": "/field", "code": "invalid", "message": "请修改此项。"}
        value["errors"] = [field | {"message_en": "Change this."}]
    return {"summary": title[1], "value": value}


def _examples(operation: dict[str, Any], sampler: Sampler) -> None:
    """An example of the body and of the main answer, where the schema tells enough for one."""
    bodies = [operation.get("requestBody", {})]
    bodies += [a for status, a in operation["responses"].items() if status.startswith("2")]
    for body in bodies:
        content = body.get("content", {}).get("application/json")
        if content is not None and not content.keys() & {"example", "examples"}:
            with suppress(NoSample):
                content["example"] = sampler.of(content.get("schema", {}))
