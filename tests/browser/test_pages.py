"""Every page in a real browser: WCAG 2.2 AA by axe-core, by keyboard, without script, small and
enlarged, asking nobody else."""

from pathlib import Path
from typing import Any

import pytest

from .conftest import Street, played

pytestmark = pytest.mark.long
SCENES = (
    "password",
    "code",
    "codeRight",
    "register",
    "reset",
    "stepUp",
    "consent",
    "terminal",
    "actingFor",
    "logout",
    "errors",
    "stale",
    "passkey",
    "guide",
    "reference",
    "swagger",
)
LARGE = (
    "password zh large",
    "password en large",
    "codeRight zh large",
    "stepUp en large",
    "consent zh large",
    "consent en large",
    "terminal zh large",
    "actingFor zh large",
    "errors zh large",
    "guide zh large",
    "reference en large",
    "swagger zh large",
)
"""Scenes of the elder edition; the others have the same parts with other words."""
STANDARD = tuple(f"{scene} {lang}" for scene in SCENES for lang in ("zh", "en"))


@pytest.fixture(scope="module")
async def found(street: Street, scripts: Path) -> dict[str, Any]:
    return await played(street, scripts, *STANDARD) | await played(street, scripts, *LARGE)


@pytest.mark.parametrize("scene", STANDARD + LARGE)
async def test_a_scene(scene: str, found: dict[str, Any]) -> None:
    seen = found[scene]
    assert not seen["problems"], "\n".join(seen["problems"])
    assert seen["looks"]
