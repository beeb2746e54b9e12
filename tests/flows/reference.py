"""The published interface as the tests walk it: every operation with requests that fit it."""

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

REF = "#/components/schemas/"
PUBLISHED = Path(__file__).parents[2] / "contracts/published/openapi"


@dataclass(frozen=True)
class Operation:
    """One operation, with what its document says of it."""

    name: str
    method: str
    template: str
    service: str | None
    """Asked directly for what the gateway does not lead to; None: through the gateway."""
    spec: dict[str, Any]
    document: dict[str, Any]

    @property
    def signed_in(self) -> bool:
        return bool(self.spec.get("security"))

    @property
    def creates(self) -> bool:
        return self.method == "POST" and "201" in self.spec["responses"]

    def parameters(self, place: str) -> list[dict[str, Any]]:
        return [p for p in self.spec.get("parameters", []) if p["in"] == place]

    @property
    def body(self) -> dict[str, Any] | None:
        """The schema of the JSON body."""
        content = self.spec.get("requestBody", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema")
        return None if schema is None else self.resolve(schema)

    def resolve(self, schema: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in schema:
            schema = self.document["components"]["schemas"][schema["$ref"].removeprefix(REF)]
        return schema

    def path(self, ids: dict[str, str]) -> str:
        """The path with ids put in, escaped."""
        return re.sub(r"\{(\w+)\}", lambda found: quote(ids[found[1]], safe="~-._"), self.template)


def _operations(document: dict[str, Any], service: str | None) -> Iterator[Operation]:
    for template, methods in document["paths"].items():
        for method, spec in methods.items():
            name = spec["operationId"]
            yield Operation(name, method.upper(), template, service, spec, document)


def operations() -> list[Operation]:
    """Every operation of the merged document."""
    text = files("gateway").joinpath("openapi.json").read_text("utf-8")
    return list(_operations(json.loads(text), None))


def hidden_operations() -> list[Operation]:
    """Those of /internal and /callbacks, asked directly of their services."""
    found = []
    for file in sorted(PUBLISHED.glob("*.json")):
        service = file.stem.removesuffix("-svc")
        document = json.loads(file.read_text("utf-8"))
        found += [
            operation
            for operation in _operations(document, service)
            if operation.template.startswith(("/internal/", "/callbacks/"))
        ]
    return found


class Samples:
    """Values that fit a schema, drawn from a seed: shapes as the document allows them."""

    def __init__(self, operation: Operation, seed: int) -> None:
        self._operation, self._random = operation, random.Random(seed)

    def of(self, schema: dict[str, Any], depth: int = 0) -> Any:
        schema = self._operation.resolve(schema)
        choices = schema.get("anyOf") or schema.get("oneOf")
        if choices:
            return self.of(self._random.choice(choices), depth)
        if "allOf" in schema:
            return self.of(schema["allOf"][0], depth)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._random.choice(schema["enum"])
        kind = schema.get("type")
        if kind == "object" or "properties" in schema:
            return self._object(schema, depth)
        if kind == "array":
            fewest = schema.get("minItems", 0)
            most = min(schema.get("maxItems", 3), max(fewest, 3 if depth < 3 else 0))
            count = self._random.randint(fewest, max(most, fewest))
            return [self.of(schema.get("items", {}), depth + 1) for _ in range(count)]
        if kind == "string":
            return self._string(schema)
        if kind in ("integer", "number"):
            return self._number(schema, whole=kind == "integer")
        if kind == "boolean":
            return self._random.random() < 0.5
        if kind == "null":
            return None
        return self._random.choice([None, True, 0, -1.5, "x", [], {}])

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        required = schema.get("required", [])
        made = {
            name: self.of(inner, depth + 1)
            for name, inner in schema.get("properties", {}).items()
            if name in required or (depth < 3 and self._random.random() < 0.6)
        }
        extra = schema.get("additionalProperties")
        if isinstance(extra, dict) or (extra is True and not made):
            inner = extra if isinstance(extra, dict) else {}
            for _ in range(self._random.randint(0, 2)):
                made[self._word(8)] = self.of(inner, depth + 1)
        return made

    def _number(self, schema: dict[str, Any], *, whole: bool) -> Any:
        low = schema.get("minimum", schema.get("exclusiveMinimum", -(10**6)))
        high = schema.get("maximum", schema.get("exclusiveMaximum", 10**6))
        if whole:
            return self._random.choice(
                [int(low), int(high), self._random.randint(int(low), int(high))]
            )
        return self._random.choice([low, high, self._random.uniform(low, high)])

    def _word(self, length: int) -> str:
        return "".join(self._random.choice("abcdefghij") for _ in range(length))

    def _string(self, schema: dict[str, Any]) -> str:
        if "pattern" in schema:
            return self._matching(schema["pattern"])
        low = schema.get("minLength", 0)
        high = min(schema.get("maxLength", 40), low + 40)
        length = self._random.choice([low, high, self._random.randint(int(low), int(high))])
        letters = "ab 张𠮷é·-'\"<%_\\{}😀\u202e\u00a0\u3000"
        return "".join(self._random.choice(letters) for _ in range(length))

    def _matching(self, pattern: str) -> str:
        from hypothesis import strategies

        # One deterministic example each; hypothesis' own search is not wanted here.
        known = _EXAMPLES.get(pattern)
        if known is None:
            known = _EXAMPLES[pattern] = [
                _first(strategies.from_regex(pattern, fullmatch=True), seed) for seed in range(3)
            ]
        return self._random.choice(known)


_EXAMPLES: dict[str, list[str]] = {}


def _first(strategy: Any, seed: int) -> str:
    import hypothesis

    found: list[str] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(max_examples=1, database=None, deadline=None)
    @hypothesis.given(strategy)
    def draw(value: str) -> None:
        found.append(value)

    draw()
    return found[0]
