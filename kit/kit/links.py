"""OpenAPI links: what to do with something that was just created.

Below the address that a `POST` creates at stand the operations on what it created: they take its
id from the answer. An act that creates something within another thing leads back to that thing.
"""

from typing import Any

from .samples import REF

Operations = list[tuple[str, str, dict[str, Any]]]


def add(document: dict[str, Any]) -> None:
    """Put `links` on the 201 of every operation whose route has not declared its own."""
    operations = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    for path, _, operation in operations:
        answer = operation["responses"].get("201")
        if answer is not None and not answer.get("links"):
            found = _below(path, _fields(document, answer), operations)
            answer["links"] = found or _around(path, operations)


def _fields(document: dict[str, Any], answer: dict[str, Any]) -> set[str]:
    schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].removeprefix(REF)]
    return set(schema.get("properties", ()))


def _below(path: str, fields: set[str], operations: Operations) -> dict[str, Any]:
    """Operations at `<path>/{variable}…` whose one further variable the answer tells."""
    found: dict[str, Any] = {}
    own = path.split("/")
    for other, _, operation in operations:
        segments = other.split("/")
        if segments[: len(own)] != own or len(segments) <= len(own):
            continue
        variable, *rest = segments[len(own) :]
        name = variable.strip("{}")
        field = name if name in fields else "id"
        if name != variable and field in fields and not any(s.startswith("{") for s in rest):
            given = _same(path) | {name: f"$response.body#/{field}"}
            found[operation["operationId"]] = _link(operation, given)
    return found


def _around(path: str, operations: Operations) -> dict[str, Any]:
    """Reading the thing within which something was created; else what else there is at its
    address, or at the next one above."""
    upper = path
    while upper.count("/") > 1:
        for other, method, operation in operations:
            if other == upper and method == "get":
                return {operation["operationId"]: _link(operation, _same(upper))}
        upper = upper.rpartition("/")[0]
    return {}


def _same(path: str) -> dict[str, str]:
    """The variables of the path, as they were in the request."""
    names = [s.strip("{}") for s in path.split("/") if s.startswith("{")]
    return {name: f"$request.path.{name}" for name in names}


def _link(operation: dict[str, Any], given: dict[str, str]) -> dict[str, Any]:
    link: dict[str, Any] = {"operationId": operation["operationId"]}
    if given:
        link["parameters"] = given
    if operation.get("summary"):
        link["description"] = operation["summary"]
    return link
