"""The bill of materials names every part, in the form that CycloneDX 1.6 asks for."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from .versions import ROOT, compose_images, pins

NAME = {"type": "string", "minLength": 1}
COMPONENT: dict[str, Any] = {
    "type": "object",
    "required": ["type", "name", "bom-ref"],
    "properties": {
        "type": {"enum": ["application", "library", "container", "file"]},
        "name": NAME,
        "version": NAME,
        "bom-ref": NAME,
        "scope": {"enum": ["required", "optional", "excluded"]},
        "purl": {"type": "string", "pattern": r"^pkg:(pypi|docker|npm)/[\w./-]+@[\w.+-]+$"},
        "licenses": {
            "type": "array",
            "items": {
                "oneOf": [
                    {"required": ["expression"], "properties": {"expression": NAME}},
                    {
                        "required": ["license"],
                        "properties": {
                            "license": {"anyOf": [{"required": ["id"]}, {"required": ["name"]}]}
                        },
                    },
                ]
            },
        },
        "hashes": {
            "type": "array",
            "items": {
                "required": ["alg", "content"],
                "properties": {
                    "alg": {"const": "SHA-256"},
                    "content": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                },
            },
        },
        "properties": {"type": "array", "items": {"required": ["name"]}},
        "components": {"type": "array", "items": {"$ref": "#/$defs/component"}},
    },
}
SCHEMA: dict[str, Any] = {
    "$defs": {"component": COMPONENT},
    "type": "object",
    "required": ["bomFormat", "specVersion", "serialNumber", "version", "metadata", "components"],
    "additionalProperties": False,
    "properties": {
        "bomFormat": {"const": "CycloneDX"},
        "specVersion": {"const": "1.6"},
        "serialNumber": {
            "type": "string",
            "pattern": r"^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
        },
        "version": {"type": "integer", "minimum": 1},
        "metadata": {
            "required": ["timestamp", "component"],
            "properties": {"component": {"$ref": "#/$defs/component"}},
        },
        "components": {"type": "array", "items": {"$ref": "#/$defs/component"}},
        "dependencies": {"type": "array", "items": {"required": ["ref"]}},
    },
}
"""The parts of the standard's schema (ECMA-424) that our bill uses, written down anew."""


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file = Path(tmp_path_factory.mktemp("sbom")) / "sbom.json"
    subprocess.run([sys.executable, ROOT / "deploy/sbom.py", file], check=True)
    told: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return told


def test_form(bill: dict[str, Any]) -> None:
    assert [e.message for e in Draft202012Validator(SCHEMA).iter_errors(bill)] == []


def test_references_are_unique_and_lead_somewhere(bill: dict[str, Any]) -> None:
    parts = [bill["metadata"]["component"], *bill["components"]]
    parts += [inner for part in parts for inner in part.get("components", [])]
    refs = [part["bom-ref"] for part in parts]
    assert len(refs) == len(set(refs))
    for entry in bill["dependencies"]:
        assert {entry["ref"], *entry["dependsOn"]} <= set(refs)


def test_every_part_is_named(bill: dict[str, Any]) -> None:
    found = {(part["name"], part["version"]): part["scope"] for part in bill["components"]}
    runtime, everything = pins("requirements-runtime.lock"), pins("requirements.lock")
    for name, version in everything.items():
        assert found[name, version] == ("required" if name in runtime else "excluded"), name
    assert {image for image in compose_images() if image[0] != "one-beam"} <= set(found)
    assert "swagger-ui-dist" in {name for name, _ in found}


def test_licences_and_hashes(bill: dict[str, Any]) -> None:
    """Each package of the image has the digests of the lock; nearly all tell their licence."""
    libraries = [p for p in bill["components"] if p.get("purl", "").startswith("pkg:pypi/")]
    assert all(part["properties"] for part in libraries)
    required = [part for part in libraries if part["scope"] == "required"]
    unknown = [part["name"] for part in required if "licenses" not in part]
    # Of other systems than this one, and so not installed here.
    assert set(unknown) <= {"colorama", "uvloop", "tzdata"}


def test_the_serial_number_follows_from_the_parts(bill: dict[str, Any]) -> None:
    command = [sys.executable, str(ROOT / "deploy/sbom.py")]
    again = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert re.search(r'"serialNumber": "([^"]+)"', again)[1] == bill["serialNumber"]  # type: ignore[index]
