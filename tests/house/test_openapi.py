"""The merged OpenAPI document tells everything: names, scopes, examples that are true, every
problem code, and what to do with what was created."""

import copy
import json
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from starlette.datastructures import Headers
from starlette.requests import Request

from beam.reference import TAGS
from beam.shared_answers import REF
from gateway.table import ROUTES
from kit.idempotency import KeyUnfit, read_key
from kit.openapi import KEY_HEADER

from .conftest import ROOT

Operation = dict[str, Any]
WRITES = {"POST", "PUT", "PATCH", "DELETE"}


PUBLISHED: dict[str, Any] = json.loads((ROOT / "gateway/gateway/openapi.json").read_text())


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """As published, with the answers that are said once put where they belong."""
    found = copy.deepcopy(PUBLISHED)
    for _, operation in _operations(found):
        for status, answer in operation["responses"].items():
            if "$ref" in answer:
                name = answer["$ref"].removeprefix(REF)
                operation["responses"][status] = PUBLISHED["components"]["responses"][name]
    return found


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, Operation]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def _refused(document: dict[str, Any], schema: dict[str, Any], value: Any) -> str | None:
    whole = {**schema, "components": document["components"]}
    error = next(iter(Draft202012Validator(whole).iter_errors(value)), None)
    return None if error is None else f"{error.json_path}: {error.message}"


def _shown(content: dict[str, Any]) -> list[Any]:
    examples = content.get("examples", {}).values()
    return [content["example"]] if "example" in content else [e["value"] for e in examples]


def test_no_refusal_is_said_twice_and_none_for_nobody() -> None:
    meant, said = set(), []
    for _, operation in _operations(PUBLISHED):
        for status, answer in operation["responses"].items():
            if "$ref" in answer:
                name = answer["$ref"].removeprefix(REF)
                assert name.startswith(f"{status}_")
                meant.add(name)
            elif status >= "3":
                said.append(json.dumps(answer, sort_keys=True))
    shared = PUBLISHED["components"]["responses"]
    said += [json.dumps(answer, sort_keys=True) for answer in shared.values()]
    assert meant == set(shared)
    assert len(said) == len(set(said))


def test_every_operation_has_a_name_a_summary_and_an_owner(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, operation in _operations(document)]
    assert len(names) == len(set(names))
    for named, operation in _operations(document):
        assert operation.get("summary"), named
        assert operation.get("description"), named
        assert operation.get("tags"), named


def test_bodies_and_main_answers_have_examples_that_their_schemas_accept(
    document: dict[str, Any],
) -> None:
    for named, operation in _operations(document):
        bodies = {"body": operation.get("requestBody", {})} | {
            status: answer
            for status, answer in operation["responses"].items()
            if status.startswith("2")
        }
        for what, body in bodies.items():
            content = body.get("content", {}).get("application/json")
            if content is None:
                continue
            shown = _shown(content)
            assert shown, f"{named} has no example of {what}: give its fields `examples`"
            for value in shown:
                assert value not in ({}, None), f"{named}: {what} shows nothing"
                trouble = _refused(document, content.get("schema", {}), value)
                assert trouble is None, f"{named}, example of {what}: {trouble}"


def test_every_problem_that_an_operation_may_answer_with_is_listed(
    document: dict[str, Any],
) -> None:
    examples = document["components"]["examples"]
    problem = document["components"]["schemas"]["Problem"]
    for code, example in examples.items():
        assert example["value"]["code"] == code
        assert _refused(document, problem, example["value"]) is None, code
    listed: set[str] = set()
    for named, operation in _operations(document):
        codes: set[str] = set()
        for status, answer in operation["responses"].items():
            content = answer.get("content", {}).get("application/problem+json")
            if content is None:
                assert status < "400" or "/oauth2/" in named, f"{named}: {status} is no problem"
                continue
            assert content["examples"], f"{named}: no code for {status}"
            for code, example in content["examples"].items():
                assert example["$ref"] == f"#/components/examples/{code}"
                assert examples[code]["value"]["status"] == int(status), f"{named}: {code}"
            codes |= content["examples"].keys()
        assert codes >= {"too_many", "unavailable", "overloaded", "bad_gateway", "timeout"}, named
        guarded = bool(operation.get("security"))
        assert ("insufficient_scope" in codes) == guarded, named
        assert ("forbidden" in codes) >= guarded, named
        listed |= codes
    known = {e["code"] for e in json.loads((ROOT / "gateway/gateway/errors.json").read_text())}
    assert listed <= known, "beam/error_codes.py gathers less than routes may raise"


def test_a_known_case_lists_what_its_code_raises(document: dict[str, Any]) -> None:
    """The codes are read off the code; this is what one of them must find through three rooms."""
    answers = document["paths"]["/v1/payments/{payment_id}/attempts"]["post"]["responses"]
    assert "not_payable" in answers["409"]["content"]["application/problem+json"]["examples"]
    assert (
        "idempotency_key_missing"
        in answers["400"]["content"]["application/problem+json"]["examples"]
    )


def test_what_is_created_is_linked_to_what_comes_next(document: dict[str, Any]) -> None:
    by_id = {operation["operationId"]: named for named, operation in _operations(document)}
    creating = 0
    for named, operation in _operations(document):
        answer = operation["responses"].get("201")
        if answer is None:
            continue
        creating += 1
        assert answer.get("links"), f"{named}: nothing is said of what comes next"
        for link in answer["links"].values():
            target = by_id[link["operationId"]].partition(" ")[2]
            variables = set(re.findall(r"{(\w+)}", target))
            assert variables == set(link.get("parameters", ())), f"{named} → {target}"
    assert creating >= 10


def test_security_names_scopes_that_the_beam_asks_for(document: dict[str, Any]) -> None:
    assert "beam" in document["components"]["securitySchemes"]
    rows = {f"{route.method} {route.path}": route for route in ROUTES}
    for named, operation in _operations(document):
        for entry in operation.get("security", ()):
            assert entry["beam"], f"{named}: a token of which scope?"
            assert set(entry["beam"]) <= rows[named].scopes


@pytest.mark.parametrize("path", ["/v1/events/asyncapi.json", "/v1/portal/home", "/v1/ops"])
def test_the_gateways_own_addresses_are_in_it(document: dict[str, Any], path: str) -> None:
    assert path in document["paths"]


def test_what_a_person_opens_says_also_as_a_page_what_is_wrong(document: dict[str, Any]) -> None:
    pages = {f"{route.method} {route.path}" for route in ROUTES if route.is_page}
    found = [operation for name, operation in _operations(document) if name in pages]
    assert found
    for operation in found:
        for status, answer in operation["responses"].items():
            if status in ("401", "429", "503"):  # the beam's own, among others
                assert set(answer["content"]) == {"application/problem+json", "text/html"}, status


@pytest.mark.parametrize(
    ("key", "fits"),
    [
        ("5f2b6f0e-9d6c-4c3c-8f6e-0a1b2c3d4e5f", True),
        ("a b", True),
        ('"5f2b"', True),
        ('""', False),
        (" ", False),
        ("", False),
        ("键", False),
        ("x" * 256, False),
    ],
)
def test_a_key_that_fits_is_taken_and_no_other(key: str, fits: bool) -> None:
    assert (_refused({"components": {}}, KEY_HEADER["schema"], key) is None) == fits
    sent = Headers({"idempotency-key": key.strip()}) if key.isascii() else None
    if sent is not None:
        request = Request({"type": "http", "headers": sent.raw})
        if fits:
            assert read_key(request, required=True) == key.strip('"')
        else:
            with pytest.raises(KeyUnfit):
                read_key(request, required=True)


def test_every_answer_names_its_header_fields(document: dict[str, Any]) -> None:
    known = document["components"]["headers"]
    for named, operation in _operations(document):
        answers = operation["responses"]
        told = {status: set(answer.get("headers", ())) for status, answer in answers.items()}
        for status, names in told.items():
            assert "X-Request-Id" in names, f"{named} {status}"
            assert names <= known.keys(), f"{named} {status}"
        assert {"Retry-After", "RateLimit", "RateLimit-Policy"} <= told["429"], named
        assert "Retry-After" in told["503"], named
        sent = {p["name"].lower() for p in operation.get("parameters", ())}
        done = set.union(
            *(names for status, names in told.items() if status.startswith("2")), set()
        )
        assert ("ETag" in done) >= ("304" in answers or "if-match" in sent), named
        assert ("Link" in done) >= ("cursor" in sent), named


def test_every_group_is_explained_and_none_is_empty(document: dict[str, Any]) -> None:
    used = {tag for _, operation in _operations(document) for tag in operation["tags"]}
    assert [tag["name"] for tag in document["tags"]] == list(TAGS)
    assert used == set(TAGS)


def test_every_parameter_is_explained(document: dict[str, Any]) -> None:
    silent = {
        (named, parameter["name"])
        for named, operation in _operations(document)
        for parameter in operation.get("parameters", ())
        if not parameter.get("description") and "/oauth2/" not in named
    }
    assert not silent


def test_money_days_and_moments_are_explained_wherever_they_stand(
    document: dict[str, Any],
) -> None:
    for name, schema in document["components"]["schemas"].items():
        for field, said in schema.get("properties", {}).items():
            if field.endswith("_fen") or said.get("format") in ("date", "date-time"):
                assert said.get("description"), f"{name}.{field}"


STATES = {
    "CaseOut": "case_svc.models:CASE_TRANSITIONS",
    "CaseLine": "case_svc.models:CASE_TRANSITIONS",
    "TaskOut": "case_svc.models:TASK_TRANSITIONS",
    "ShipmentOut": "logistics_svc.models:SHIPMENT_TRANSITIONS",
    "DraftOut": "catalog_svc.models:TRANSITIONS",
    "AppointmentView": "identity_svc.models_agency:APPOINTMENT_TRANSITIONS",
    "MandateView": "identity_svc.models_agency:MANDATE_TRANSITIONS",
    "Me": "identity_svc.models:ACCOUNT_TRANSITIONS",
    "PartnerOut": "exchange_svc.models:PARTNER_TRANSITIONS",
}


@pytest.mark.parametrize(("schema", "place"), STATES.items())
def test_a_state_can_be_any_of_its_table_and_nothing_else(
    document: dict[str, Any], schema: str, place: str
) -> None:
    module, name = place.split(":")
    edges = getattr(import_module(module), name)
    states = {state for state, _ in edges} | {state for state, _ in edges.values()}
    assert set(document["components"]["schemas"][schema]["properties"]["state"]["enum"]) == states
