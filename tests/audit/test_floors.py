"""Nothing that we ship is older than the first version without its known holes (floors.toml)."""

import re
import tomllib
from datetime import date
from typing import Any

import pytest

from .versions import ROOT, compose_images, older, pins

TABLE = tomllib.loads((ROOT / "tests/audit/floors.toml").read_text("utf-8"))
FLOORS: list[dict[str, Any]] = TABLE["floor"]
PYPI = [floor for floor in FLOORS if floor["in"] == "pypi"]
IMAGES = [floor for floor in FLOORS if floor["in"] == "image"]


def below(found: str, floor: str) -> bool:
    """Whether a version is too old. A tag such as `17` moves: it means the newest 17 there is, so
    only as many numbers as it has can be compared."""
    parts = len(found.split("."))
    return older(found, ".".join(floor.split(".")[:parts]))


@pytest.mark.parametrize("floor", PYPI, ids=lambda floor: floor["name"])
@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-runtime.lock"])
def test_locked_versions(lock: str, floor: dict[str, Any]) -> None:
    found = pins(lock)
    if floor["name"] in found:
        assert not older(found[floor["name"]], floor["floor"]), floor["why"]
    else:
        assert lock == "requirements-runtime.lock", f"{floor['name']} is used no more: drop its row"


def test_an_install_without_the_lock_gets_no_older_ones() -> None:
    """pyproject.toml's own lower bounds, for whoever installs One Beam as a package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["embedded"]]
    lower = dict(
        re.match(r"([A-Za-z0-9-]+)(?:\[\w+\])?>=([\d.]+)", entry).groups()  # type: ignore[union-attr]
        for entry in wanted
    )
    for floor in PYPI:
        if floor["name"] in lower:
            assert not older(lower[floor["name"]], floor["floor"]), floor["name"]


@pytest.mark.parametrize("floor", IMAGES, ids=lambda floor: floor["name"])
def test_images(floor: dict[str, Any]) -> None:
    tags = {name: tag for name, tag in compose_images() if name == floor["name"]}
    assert tags, f"{floor['name']} is used no more: drop its row"
    version = re.match(r"[\d.]+", tags[floor["name"]])
    assert version, "an image without a version"
    assert not below(version[0], floor["floor"]), floor["why"]


def test_every_foreign_image_has_a_row() -> None:
    assert {name for name, _ in compose_images()} - {"one-beam"} == {f["name"] for f in IMAGES}


def test_embedded_postgres_is_what_the_table_says() -> None:
    import subprocess

    from kit.embedded.postgres import install_folder

    (floor,) = (f for f in FLOORS if f["in"] == "embedded")
    told = subprocess.run(
        [install_folder() / "bin" / "postgres", "--version"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    version = re.search(r"(\d+\.\d+)", told)
    assert version
    assert not older(version[1], floor["floor"])


def test_ecdsa_never_signs() -> None:
    """python-jose brings `ecdsa`, whose signing leaks the key; ours is done by cryptography."""
    from jose import jwk
    from jose.backends.cryptography_backend import CryptographyECKey

    assert jwk.get_key("ES256") is CryptographyECKey


def test_the_lock_of_the_tools_names_no_place() -> None:
    lock = (ROOT / "requirements-audit.lock").read_text("utf-8")
    assert "://" not in lock
    assert {"bandit", "semgrep"} <= set(pins("requirements-audit.lock"))
    blocks = re.split(r"\n(?=[a-z0-9])", lock.strip())
    assert all("--hash=sha256:" in block for block in blocks if "==" in block)


def test_rows_say_why_and_where_from() -> None:
    assert isinstance(TABLE["read-on"], date)
    for floor in FLOORS:
        assert len(floor["why"]) > 20, floor["name"]
        assert floor["source"], floor["name"]
        for name in (*floor["ids"], *floor.get("open", [])):
            assert re.fullmatch(r"(CVE|PYSEC|GO)-\d{4}-\d+|GHSA(-\w{4}){3}", name), name


@pytest.mark.parametrize(
    ("found", "floor", "wrong"),
    [
        ("3.3.0", "3.4.0", True),
        ("3.4.0", "3.4.0", False),
        ("3.10.0", "3.4.0", False),
        ("0.0.9", "0.0.30", True),
        ("16", "17.12", True),
        ("17", "17.12", False),
        ("17.11", "17.12", True),
        ("2.12", "2.12.6", False),
    ],
)
def test_the_comparison_itself(found: str, floor: str, wrong: bool) -> None:
    assert below(found, floor) is wrong
