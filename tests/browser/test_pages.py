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
    "reference",
)


@pytest.fixture(scope="module")
async def found(street: Street, scripts: Path) -> dict[str, Any]:
    return await played(street, scripts, *(f"{s} {lang}" for s in SCENES for lang in ("zh", "en")))


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("scene", SCENES)
async def test_a_scene(scene: str, lang: str, found: dict[str, Any]) -> None:
    seen = found[f"{scene} {lang}"]
    assert not seen["problems"], "\n".join(seen["problems"])
    assert seen["looks"]
