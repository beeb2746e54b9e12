"""An example for every schema of an OpenAPI document, put together from what the schema says.

A field's own `examples`, `const`, `enum` or `default` come first, then its format and bounds; only
a plain text without any of them takes a word of the house (`_WORDS`) or a neutral one. A field
with a `pattern` has to bring its own example: nothing here can guess it.
"""

import re
from typing import Any

REF = "#/components/schemas/"
_FORMATS = {
    "date": "2026-09-01",
    "date-time": "2026-09-01T09:30:00+08:00",
    "time": "09:30:00",
    "duration": "P1D",
    "uri": "https://app.example/callback",
    "uri-reference": "/docs/errors#not_found",
    "uuid": "019920c4-7a1e-7cc2-9d42-5b6f0e9d6c4c",
    "email": "someone@app.example",
}
_WORDS = {
    "code": "A05",
    "dept": "SAMR",
    "lead_dept": "SAMR",
    "dept_name": "市场监管局",
    "region": "310115",
    "item_code": "A05",
    "item_name": "食品经营许可",
    "holder_name": "王*",
    "name": "名称",
    "name_en": "Name",
    "title": "标题",
    "kind": "person",
    "state": "open",
    "channel": "app",
    "licence_type": "LT-FOOD",
    "reason": "材料与要求不符。",
    "opinion": "同意。",
    "what": "请补充材料。",
    "note": "备注",
    "purpose": "核对",
    "phone": "13800000001",
    "mobile": "13800000001",
    "province": "上海市",
    "city": "上海市",
    "county": "浦东新区",
    "street": "样例路 1 号",
    "comment": "办得很快。",
    "event_type": "case.submitted.v1",
    "client_id": "portal",
}
"""What the fields that occur all over the place look like."""
_DEPTH = 12


class NoSample(ValueError):
    """The schema says too little: a pattern without an example, a circle."""


class Sampler:
    """Makes examples for the schemas of one document."""

    def __init__(self, schemas: dict[str, Any]) -> None:
        self._schemas = schemas

    def of(self, schema: dict[str, Any], name: str = "", depth: int = 0) -> Any:
        """A value that the schema accepts. Raises NoSample where it cannot be told."""
        if depth > _DEPTH:
            raise NoSample(name)
        if "$ref" in schema:
            target = schema["$ref"].removeprefix(REF)
            return self.of(self._schemas[target], name or target, depth + 1)
        for key in ("example", "const", "default"):
            if schema.get(key) is not None:
                return schema[key]
        for key in ("examples", "enum"):
            if schema.get(key):
                return schema[key][0]
        for key in ("anyOf", "oneOf"):
            if key in schema:
                return self._first(schema[key], name, depth)
        if "allOf" in schema:
            whole: dict[str, Any] = {}
            for part in schema["allOf"]:
                whole |= self.of(part, name, depth + 1)
            return whole
        return self._typed(schema, name, depth)

    def _first(self, choices: list[dict[str, Any]], name: str, depth: int) -> Any:
        """Of the choices the first that is not null and can be told."""
        trouble: NoSample | None = None
        for choice in choices:
            if choice.get("type") != "null":
                try:
                    return self.of(choice, name, depth + 1)
                except NoSample as error:
                    trouble = error
        if trouble is not None and len(choices) == 1:
            raise trouble
        return None

    def _typed(self, schema: dict[str, Any], name: str, depth: int) -> Any:
        kind = schema.get("type")
        if kind == "object" or "properties" in schema:
            return {
                field: self.of(inner, _id_of(schema) if field == "id" else field, depth + 1)
                for field, inner in schema.get("properties", {}).items()
            }
        if kind == "array":
            inner = schema.get("items")
            if not inner or schema.get("maxItems") == 0:
                return []
            return [self.of(inner, name.removesuffix("s"), depth + 1)] * schema.get("minItems", 1)
        if kind in ("integer", "number"):
            least = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
            return min(max(least, 1), schema.get("maximum", max(least, 1)))
        if kind == "boolean":
            return True
        if kind == "string":
            return self._text(schema, name)
        return {} if kind is None else None

    def _text(self, schema: dict[str, Any], name: str) -> str:
        if "pattern" in schema:
            raise NoSample(f"{name}: {schema['pattern']} without an example")
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        if name == "id" or name.endswith("_id"):
            text = f"{name.removesuffix('_id')}_019920c47a1e7cc29d425b6f0e9d6c4c"
        elif name == "next":
            text = "/v1/things?cursor=eyJhZnRlciI6IjEifQ"
        else:
            text = _WORDS.get(name, name or "text")
        text = text.ljust(schema.get("minLength", 0), "0")
        return text[: schema.get("maxLength", len(text))]


def _id_of(schema: dict[str, Any]) -> str:
    """`case_id` for the id within a schema `CaseOut`."""
    words = re.findall(r"[A-Z][a-z]+", schema.get("title", ""))
    return f"{words[0].lower() if words else 'id'}_id"


def shown(value: Any, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """For `responses=` of a route whose answer has no schema: an example of it."""
    return {status: {"content": {"application/json": {"example": value}}}}
