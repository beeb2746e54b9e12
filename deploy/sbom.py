"""`make sbom`: the parts that One Beam consists of, as CycloneDX 1.6 JSON. Standard library only,
no network.

Parts: what requirements-runtime.lock pins (the image), what requirements.lock pins besides (for
development, `scope: excluded`), the images of deploy/compose.yaml and the vendored files of the
portal. Licences are known for packages that are installed beside the running Python.

    python deploy/sbom.py [FILE]        writes FILE, or to the standard output
"""

import hashlib
import json
import re
import sys
import tomllib
import uuid
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
VENDOR = ROOT / "gateway/gateway/pages/vendor"
Part = dict[str, Any]


def _pins(lock: str) -> dict[str, tuple[str, list[str]]]:
    """Package → (version, SHA-256 of the files that may be installed)."""
    text = (ROOT / lock).read_text("utf-8")
    blocks = re.findall(r"^([a-z0-9-]+)==([^\s;\\]+)(.*?)(?=^[a-z0-9]|\Z)", text, re.M | re.S)
    return {
        name: (version, re.findall(r"--hash=sha256:([0-9a-f]{64})", rest))
        for name, version, rest in blocks
    }


def _licences(name: str) -> list[Part]:
    try:
        told = metadata(name)
    except PackageNotFoundError:
        return []
    if expression := told.get("License-Expression"):
        return [{"expression": expression}]
    trove = [
        line.rpartition(" :: ")[2]
        for line in told.get_all("Classifier", [])
        if line.startswith("License :: ")
    ]
    short = told.get("License") or ""
    named = trove or ([short] if 0 < len(short) < 60 and "\n" not in short else [])
    return [{"license": {"name": licence}} for licence in named]


def packages() -> list[Part]:
    """The Python packages, those of the image as `required`."""
    runtime, everything = _pins("requirements-runtime.lock"), _pins("requirements.lock")
    parts = []
    for name, (version, hashes) in sorted((everything | runtime).items()):
        part: Part = {
            "type": "library",
            "bom-ref": f"pkg:pypi/{name}@{version}",
            "name": name,
            "version": version,
            "scope": "required" if name in runtime else "excluded",
            "purl": f"pkg:pypi/{name}@{version}",
            # Any one of them may have been installed: it depends on the machine.
            "properties": [{"name": "lock:sha256", "value": digest} for digest in hashes],
        }
        if licences := _licences(name):
            part["licenses"] = licences
        parts.append(part)
    return parts


def images() -> list[Part]:
    """The container images that deploy/compose.yaml names unless an operator names others."""
    text = (ROOT / "deploy/compose.yaml").read_text("utf-8")
    found = re.findall(r"^ +(?:image|PYTHON_IMAGE): \$\{\w+:-([\w./-]+:[\w.-]+)\}", text, re.M)
    return [
        {
            "type": "container",
            "bom-ref": f"pkg:docker/{name}@{tag}",
            "name": name,
            "version": tag,
            "scope": "required",
            "purl": f"pkg:docker/{name}@{tag}",
        }
        for name, tag in (image.split(":") for image in sorted(set(found)))
    ]


def vendored() -> list[Part]:
    """The one foreign work whose files lie in our tree: Swagger UI, on the portal's reference."""
    told = (VENDOR / "VERSION").read_text("utf-8")
    name, version, licence = re.match(r"([\w-]+) ([\d.]+), ([\w.-]+):", told).groups()  # type: ignore[union-attr]
    files = sorted(path for path in VENDOR.iterdir() if path.suffix in (".js", ".css"))
    return [
        {
            "type": "library",
            "bom-ref": f"pkg:npm/{name}@{version}",
            "name": name,
            "version": version,
            "scope": "required",
            "purl": f"pkg:npm/{name}@{version}",
            "licenses": [{"license": {"id": licence}}],
            "components": [
                {
                    "type": "file",
                    "bom-ref": str(path.relative_to(ROOT)),
                    "name": str(path.relative_to(ROOT)),
                    "hashes": [
                        {"alg": "SHA-256", "content": hashlib.sha256(path.read_bytes()).hexdigest()}
                    ],
                }
                for path in files
            ],
        }
    ]


def bill() -> Part:
    """The whole bill. Its serial number follows from its parts: same parts, same number."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    root = f"pkg:pypi/{project['name']}@{project['version']}"
    parts = [*packages(), *images(), *vendored()]
    serial = uuid.uuid5(uuid.NAMESPACE_URL, root + json.dumps(parts, sort_keys=True))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
            "component": {
                "type": "application",
                "bom-ref": root,
                "name": project["name"],
                "version": project["version"],
                "description": project["description"],
                "licenses": [{"license": {"id": project["license"]}}],
                "purl": root,
            },
        },
        "components": parts,
        "dependencies": [
            {
                "ref": root,
                "dependsOn": [part["bom-ref"] for part in parts if part["scope"] == "required"],
            }
        ],
    }


if __name__ == "__main__":
    told = json.dumps(bill(), indent=1, ensure_ascii=False) + "\n"
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(told, "utf-8")
        print(f"✓ {sys.argv[1]}", file=sys.stderr)
    else:
        sys.stdout.write(told)
