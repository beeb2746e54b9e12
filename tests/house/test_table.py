"""The beam's table and the published interface say the same, operation by operation."""

import json
from typing import Any

import pytest

from gateway.table import OWN, ROUTES, SERVICES, Route

from .conftest import ROOT
from .conftest import SERVICES as PACKAGES
from .test_doors import app_of, routes


def _published(service: str) -> dict[str, Any]:
    document = json.loads((ROOT / f"contracts/published/openapi/{service}-svc.json").read_text())
    paths: dict[str, Any] = document["paths"]
    return paths


@pytest.fixture(scope="module")
def merged() -> dict[tuple[str, str], dict[str, Any]]:
    document = json.loads((ROOT / "gateway/gateway/openapi.json").read_text())
    return {
        (method.upper(), path): operation
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }


def _rows() -> dict[tuple[str, str], Route]:
    return {(route.method, route.path): route for route in ROUTES}


def test_every_published_operation_has_a_row_and_every_row_an_operation(
    merged: dict[tuple[str, str], dict[str, Any]],
) -> None:
    rows = _rows()
    assert len(rows) == len(ROUTES)
    lacking = [f'_row("{" ".join(operation)}")' for operation in sorted(merged.keys() - rows)]
    assert not lacking, f"gateway/gateway/table.py lacks {lacking}"
    published = {key for key, route in rows.items() if route.published}
    assert not published - merged.keys(), "rows without an operation in `make contracts`"
    assert not (rows.keys() - published) & merged.keys(), "these are published, say so"


def test_a_row_names_the_owner_and_the_scopes_of_its_operation(
    merged: dict[tuple[str, str], dict[str, Any]],
) -> None:
    owners = {path: service for service in SERVICES for path in _published(service)}
    for (method, path), operation in merged.items():
        row = _rows()[method, path]
        named = f"{method} {path}"
        assert row.service == owners.get(path, OWN), named
        granted = {scope for entry in operation.get("security", ()) for scope in entry["beam"]}
        assert row.scopes == granted, f"{named}: the route lets {sorted(granted)} in"


def test_pages_and_callbacks_are_rows_that_nobody_publishes() -> None:
    hidden = {
        (route.method, route.path)
        for route in ROUTES
        if not route.published and route.service != OWN
    }
    wanted = {
        (method, route.path)
        for service in PACKAGES
        for route in routes(app_of(service))
        for method in route.methods or ()
        if route.path.startswith("/callbacks/") or not route.include_in_schema
    }
    assert hidden == wanted
