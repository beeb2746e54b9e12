"""`/docs/events`: the AsyncAPI document as a page, one section for each event."""

from html import escape
from typing import Any

from kit.views import View

from .layout import code, page, switches, table

_HEADS = ("字段 Field", "类型 Type", "必有 Always", "说明 Meaning")


def render(document: dict[str, Any], view: View) -> str:
    schemas = document["components"]["schemas"]
    channels = document["channels"]
    heard = _listeners(document)
    listed = "".join(f'<li><a href="#{kind}">{code(kind)}</a></li>' for kind in channels)
    sections = "".join(
        _section(kind, channel, document, heard[kind]) for kind, channel in channels.items()
    )
    return page(
        "事件 · Events",
        "<p>每件事发生后,相关部门和服务都会收到事件(CloudEvents 1.0,JSON,NATS JetStream)。"
        "事件中没有个人信息。各部门的系统从自己的持久消费者 <code>dept_代码</code> 读取。"
        '<br><span lang="en">What has happened is told as CloudEvents 1.0 over NATS JetStream. '
        "Events hold no personal data. A department's system reads from its own durable "
        "<code>dept_CODE</code>. A breaking change becomes a new version beside the old one."
        '</span></p><p><a href="/v1/events/asyncapi.json">AsyncAPI 3 (JSON)</a></p>'
        f"<ul>{listed}</ul>"
        + table("信封 · Envelope", _HEADS, _fields(schemas["Envelope"]))
        + sections,
        view,
        switches(view, "/docs/events"),
    )


def _listeners(document: dict[str, Any]) -> dict[str, tuple[list[str], list[str]]]:
    """Event type → who sends it, who hears it."""
    found: dict[str, tuple[list[str], list[str]]] = {k: ([], []) for k in document["channels"]}
    for name, operation in document["operations"].items():
        kind = operation["channel"]["$ref"].removeprefix("#/channels/").replace("~1", "/")
        sends = operation["action"] == "send"
        who = name.split(".")[0] if sends else name.rpartition(".")[0]
        found[kind][0 if sends else 1].append(who)
    return found


def _section(
    kind: str,
    channel: dict[str, Any],
    document: dict[str, Any],
    heard: tuple[list[str], list[str]],
) -> str:
    [name] = channel["messages"]
    message = document["components"]["messages"][name]
    schema = document["components"]["schemas"][name]
    senders, listeners = (", ".join(code(who) for who in sorted(names)) for names in heard)
    return (
        f'<section id="{escape(kind)}"><h2>{code(kind)}</h2>'
        f'<p lang="en">{escape(message["title"])}</p><ul>'
        f"<li><code>type</code>: {code(message['name'])}</li>"
        f"<li>主题 subject: {code(channel['address'])}</li>"
        f"<li>发出 sent by: {senders}</li>"
        f"<li>收听 heard by: {listeners}</li>"
        f'<li><a href="/v1/events/schemas/{escape(kind)}">JSON Schema</a></li></ul>'
        + table("data", _HEADS, _fields(schema))
        + "</section>"
    )


def _fields(schema: dict[str, Any]) -> list[tuple[str, ...]]:
    required = set(schema.get("required", ()))
    definitions = schema.get("$defs", {})
    return [
        (
            code(name),
            escape(_type(field, definitions)),
            "是 yes" if name in required else "否 no",
            escape(str(field.get("description", ""))),
        )
        for name, field in schema.get("properties", {}).items()
    ]


def _type(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    """A short name for what may stand in a field."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return _type(definitions[name], definitions) if name in definitions else name
    if "const" in field:
        return f"“{field['const']}”"
    if "enum" in field:
        return " | ".join(f"“{value}”" for value in field["enum"])
    for word in ("anyOf", "oneOf", "allOf"):
        if word in field:
            return " | ".join(_type(inner, definitions) for inner in field[word])
    if field.get("type") == "array":
        return f"[{_type(field.get('items', {}), definitions)}]"
    if field.get("type") == "object" and "properties" in field:
        return "{" + ", ".join(field["properties"]) + "}"
    form = field.get("format") or field.get("pattern")
    kind = str(field.get("type", "any"))
    return f"{kind} ({form})" if form else kind
