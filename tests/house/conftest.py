"""Where the house stands, for the tests of its rules."""

import ast
import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = sorted(path.parent.name for path in ROOT.glob("*-svc/*_svc/main.py"))


@pytest.fixture(scope="session")
def tracked() -> list[Path]:
    """Every file of the tree, as git knows it (new ones too)."""
    told = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return [ROOT / name for name in told.stdout.decode().split("\0") if name]


def modules(package: str) -> list[Path]:
    folder = Path(import_module(package).__file__ or "").parent
    return [path for path in folder.rglob("*.py") if "migrations" not in path.parts]


def imports(path: Path) -> Iterator[str]:
    """The names that a module imports, absolute ones only."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""
