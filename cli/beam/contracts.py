"""`beam contracts`: everything that others may rely on, written as files and kept in the tree.

    contracts/published/openapi/<service>.json   each service's REST interface
    contracts/published/asyncapi.json            all events (AsyncAPI 3)
    contracts/published/events/<type>.json       JSON Schema of each event's data
    gateway/gateway/openapi.json                 the public REST interface, merged: what an app sees
    gateway/gateway/asyncapi.json                the events once more, for the gateway's pages
    gateway/gateway/errors.json                  every problem code, for the gateway's pages

A house test fails when the files are not what the code says.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import UUID

from fastapi import FastAPI

from contracts.event import EVENTS, Envelope, Event
from gateway.refusals import REFUSALS
from gateway.table import ROUTES
from kit import openapi, vocabulary
from kit.inbox import Subscribers
from kit.samples import Sampler

from . import VERSION, error_codes
from .programs import SERVICES, Program
from .reference import SIGN_IN, TAGS
from .shared_answers import share

HIDDEN = ("/internal/", "/callbacks/")
REF = "#/components/schemas/"


def openapi_of(program: Program) -> dict[str, Any]:
    """A service's OpenAPI document; nothing is opened for it."""
    settings = import_module(f"{program.package}.settings").Settings(
        database_url="postgresql+asyncpg://", environment="test"
    )
    app = import_module(f"{program.package}.main").create_app(settings)
    document: dict[str, Any] = app.openapi()
    return document


def openapi_of_gateway() -> dict[str, Any]:
    """What the gateway itself answers to apps: the home of the portal, its operators' page, the
    document of all events."""
    app = FastAPI(title="gateway", generate_unique_id_function=lambda route: route.name)
    for room, name in (
        ("ops", "router"),
        ("portal", "router"),
        ("references", "events_router"),
    ):
        app.include_router(getattr(import_module(f"gateway.{room}"), name))
    return openapi.build(app)


def merged(documents: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """One document of all public paths. Raises ValueError when two services claim a path or an
    operationId; a schema of the same name and other content gets its service's name in front."""
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    security: dict[str, Any] = {}
    examples: dict[str, Any] = {}
    headers: dict[str, Any] = {}
    operations: dict[str, str] = {}
    for service, document in documents.items():
        components = document.get("components", {})
        renamed = {}
        for name, schema in components.get("schemas", {}).items():
            if schemas.get(name, schema) != schema:
                renamed[name] = f"{service.capitalize()}{name}"
        document = _rename(document, renamed)
        schemas |= document.get("components", {}).get("schemas", {})
        security |= components.get("securitySchemes", {})
        headers |= components.get("headers", {})
        examples = components.get("examples", {}) | examples
        for path, methods in document["paths"].items():
            if path.startswith(HIDDEN):
                continue
            if path in paths:
                raise ValueError(f"{path} is claimed by two services")
            paths[path] = methods
            for method, operation in methods.items():
                name = operation["operationId"]
                if name in operations:
                    raise ValueError(f"{name} is both {operations[name]} and {method} {path}")
                operations[name] = f"{method} {path}"
                operation.setdefault("tags", [service])
                _at_the_beam(operation, page=(method.upper(), path) in _PAGES)
    answers = share(paths)
    said = [paths, answers]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "One Beam 一网通办 · 一梁四柱",
            "version": VERSION,
            "description": "一座城市的全部政务服务,一个接口。"
            " All of a city's government services behind one door.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": said} for name, said in TAGS.items()],
        "paths": dict(sorted(paths.items())),
        "components": {
            "examples": _used(said, "examples", _refusals() | examples),
            "headers": _used(said, "headers", headers),
            "responses": answers,
            "schemas": _used(said, "schemas", schemas),
            "securitySchemes": {
                name: scheme | {"description": SIGN_IN} for name, scheme in security.items()
            },
        },
    }


BEAM_EVERYWHERE = (
    "bad_request", "bad_host", "bad_target", "upgrade_refused", "bad_token", "target_too_long",
    "expectation_failed", "too_many", "head_too_large", "bad_gateway", "unavailable",
    "overloaded", "identity_unavailable", "timeout", "connect_timeout", "version_not_supported",
)  # fmt: skip
"""What the beam may answer to any request; `not_found` and `method_not_allowed` never happen at a
published operation."""


_BEFORE_THE_LIMIT = {"408", "414", "417", "431", "505"}
"""What is refused by its head alone is not counted."""
_PAGES = {(route.method, route.path) for route in ROUTES if route.is_page}


def _at_the_beam(operation: dict[str, Any], *, page: bool) -> None:
    """Add the problems that the beam itself may answer with; where a person opens a `page`, also
    as a page."""
    codes = list(BEAM_EVERYWHERE)
    # Nothing said would leave it open whether everybody may.
    if operation.setdefault("security", []):
        codes.append("insufficient_scope")
    if "413" in operation["responses"]:
        codes += ["too_large", "request_timeout"]
    for code in codes:
        refusal = REFUSALS[code]
        answer = operation["responses"].setdefault(
            str(refusal.status), openapi.problem(refusal.title[1])
        )
        openapi.add_code(answer, code)
        vocabulary.headed(operation["responses"], str(refusal.status), "X-Request-Id")
        if page:
            answer["content"].setdefault("text/html", {"schema": {"type": "string"}})
    for status in operation["responses"]:
        if status not in _BEFORE_THE_LIMIT:
            vocabulary.headed(operation["responses"], status, "RateLimit-Policy", "RateLimit")


def _refusals() -> dict[str, Any]:
    return {
        code: openapi.example_of(refusal.status, code, refusal.title)
        for code, refusal in REFUSALS.items()
    }


def _rename(document: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    if not names:
        return document
    text = json.dumps(document)
    for old, new in names.items():
        text = text.replace(f'"{REF}{old}"', f'"{REF}{new}"')
    copy: dict[str, Any] = json.loads(text)
    schemas = copy["components"]["schemas"]
    for old, new in names.items():
        schemas[new] = schemas.pop(old)
    return copy


def _used(said: Any, kind: str, components: dict[str, Any]) -> dict[str, Any]:
    """Those of the components of one kind that `said` refers to, or that those refer to."""
    found: dict[str, Any] = {}
    waiting = list(_references(said, f"#/components/{kind}/"))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = components[name]
            waiting += _references(components[name], f"#/components/{kind}/")
    return dict(sorted(found.items()))


def _references(value: Any, prefix: str) -> Iterable[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref" and isinstance(inner, str) and inner.startswith(prefix):
                yield inner.removeprefix(prefix)
            else:
                yield from _references(inner, prefix)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner, prefix)


def subscribers_of(program: Program) -> Subscribers | None:
    try:
        room = import_module(f"{program.package}.subscribers")
    except ModuleNotFoundError as missing:
        if missing.name != f"{program.package}.subscribers":
            raise
        return None
    on: Subscribers = room.on
    return on


def listeners() -> dict[str, list[str]]:
    """Event type → `<service>.<handler>` of everyone who hears it."""
    heard: dict[str, list[str]] = {kind: [] for kind in EVENTS}
    for program in SERVICES:
        on = subscribers_of(program)
        for subscription in on.subscriptions if on else ():
            kinds = EVENTS if subscription.event_type is None else (subscription.event_type.TYPE,)
            for kind in kinds:
                heard[kind].append(f"{program.name}.{subscription.name}")
    return heard


def asyncapi() -> dict[str, Any]:
    """All events with who sends and who hears them, CloudEvents 1.0 over NATS JetStream."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    heard = listeners()
    schemas["Envelope"] = Envelope.model_json_schema(mode="serialization")
    for kind, event in sorted(EVENTS.items()):
        name = event.__name__
        data = _schema(event)
        schemas[name] = data
        messages[name] = {
            "name": f"cn.beam.{kind}",
            "title": (event.__doc__ or name).strip().splitlines()[0],
            "contentType": "application/cloudevents+json",
            "examples": [{"payload": _sample(kind, data)}],
            "payload": {
                "allOf": [
                    {"$ref": "#/components/schemas/Envelope"},
                    {
                        "properties": {
                            "type": {"const": f"cn.beam.{kind}"},
                            "data": {"$ref": f"#/components/schemas/{name}"},
                        }
                    },
                ]
            },
        }
        channels[kind] = {
            "address": f"evt.{kind}.{{region}}.{{dept}}",
            "parameters": {
                "region": {"description": "GB/T 2260, six digits, or _"},
                "dept": {"description": "department code, or _"},
            },
            "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        }
        channel = {"$ref": f"#/channels/{kind.replace('/', '~1')}"}
        operations[f"{event.owner()}.send.{name}"] = {"action": "send", "channel": channel}
        for listener in sorted(heard[kind]):
            operations[f"{listener}.{name}"] = {"action": "receive", "channel": channel}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "One Beam events",
            "version": VERSION,
            "description": "One JetStream stream EVENTS. A department pulls from its durable "
            "`dept_<CODE>`; a breaking change becomes a new version beside the old one.",
        },
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas},
    }


def _sample(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    """An event of this kind as a department gets it."""
    envelope = Envelope(
        id=UUID("019920c4-7a1e-7cc2-9d42-5b6f0e9d6c4c"),
        source=f"/beam/{kind.split('.')[0]}",
        type=f"cn.beam.{kind}",
        subject="case_019920c47a1e7cc29d425b6f0e9d6c4c",
        time=datetime(2026, 9, 1, 1, 30, tzinfo=UTC),
        dataschema=f"/v1/events/schemas/{kind}",
        region="310115",
        dept="SAMR",
        aggregateversion=3,
        correlationid="5f2b6f0e9d6c4c3c8f6e0a1b2c3d4e5f",
        data=Sampler(data.get("$defs", {})).of(data),
    )
    return envelope.model_dump(mode="json", exclude_none=True)


def _schema(event: type[Event]) -> dict[str, Any]:
    return event.model_json_schema(mode="serialization")


def files() -> dict[str, str]:
    """Path in the tree → content of every published contract."""
    documents = {program.name: openapi_of(program) for program in SERVICES}
    out = {
        f"contracts/published/openapi/{name}-svc.json": _dump(document)
        for name, document in documents.items()
    }
    out["gateway/gateway/openapi.json"] = _dump(
        merged(documents | {"gateway": openapi_of_gateway()})
    )
    events = _dump(asyncapi())
    out["contracts/published/asyncapi.json"] = out["gateway/gateway/asyncapi.json"] = events
    out["gateway/gateway/errors.json"] = _dump(error_codes.gathered())
    for kind, event in EVENTS.items():
        out[f"contracts/published/events/{kind}.json"] = _dump(event.schema_document())
    return out


def _dump(value: object) -> str:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def write(root: Path) -> int:
    """Write all files under `root`, drop published ones that no longer exist; returns how many
    changed."""
    wanted, changed = files(), 0
    for old in (root / "contracts/published").rglob("*.json"):
        if old.relative_to(root).as_posix() not in wanted:
            old.unlink()
            changed += 1
    for name, content in wanted.items():
        path = root / name
        if not path.exists() or path.read_text() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
            changed += 1
    return changed
