"""Rooms hold what their names say, and import only what they may."""

import ast
import re
from pathlib import Path

import grimp
import pytest

from .conftest import ROOT, SERVICES, imports, modules

DOORS = {"main", "routes", "callbacks", "endpoints", "provider"}
"""Rooms that may know FastAPI or Starlette: doors, and the two of identity that speak HTML."""
OUTSIDE = {"channels", "carriers", "providers"}
LONGEST = 400


def room(path: Path, service: str) -> str:
    return (
        path.relative_to(path.parents[[p.name for p in path.parents].index(service)])
        .parts[0]
        .removesuffix(".py")
    )


@pytest.mark.parametrize("service", SERVICES)
def test_domain_modules_know_neither_the_web_nor_the_broker(service: str) -> None:
    for path in modules(service):
        tops = {name.split(".")[0] for name in imports(path)}
        assert "nats" not in tops, f"{path.relative_to(ROOT)} must leave NATS to the kit"
        if room(path, service) not in DOORS:
            assert not {"fastapi", "starlette"} & tops, f"{path.relative_to(ROOT)} is no door"
        if room(path, service) not in OUTSIDE | {"main", "outside"}:
            assert "httpx" not in tops, f"{path.relative_to(ROOT)} calls out by itself"


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_its_rooms(service: str) -> None:
    folder = ROOT / service.replace("_", "-")
    names = {path.stem for path in (folder / service).iterdir()}
    assert {"main", "settings", "models", "schemas", "migrations"} <= names
    assert "routes" in names
    assert (folder / "README.md").exists(), f"{folder.name} needs its one page"
    main = (folder / service / "main.py").read_text()
    assert "def create_app(settings: Settings | None = None) -> FastAPI:" in main
    assert not re.search(r"^app\s*=", main, re.M), "no module-level app"


def test_nobody_but_settings_and_the_command_line_reads_the_environment() -> None:
    allowed = {ROOT / "kit/kit/crash.py"}
    for path in [p for s in (*SERVICES, "kit", "gateway", "contracts") for p in modules(s)]:
        if path in allowed or "embedded" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv"):
                raise AssertionError(f"{path.relative_to(ROOT)}:{node.lineno} reads os.environ")


def test_python_jose_is_touched_in_one_module() -> None:
    for package in (*SERVICES, "kit", "gateway", "sandbox", "beam", "contracts"):
        for path in modules(package):
            if path != ROOT / "kit/kit/jose.py":
                tops = {name.split(".")[0] for name in imports(path)}
                assert "jose" not in tops, path.relative_to(ROOT)


def test_the_kit_names_no_service() -> None:
    names = [service.removesuffix("_svc") for service in SERVICES if service != "case_svc"]
    # (`pg_catalog` is PostgreSQL's own schema.)
    pattern = re.compile(rf"(?:[\"'/]|(?<!pg)_)(?:{'|'.join(names)})(?:[_-]svc)?[\"'/]")
    for path in modules("kit"):
        tree = ast.parse(path.read_text())
        doc = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                if id(node) in doc or "\n" in node.value:
                    continue
                assert not pattern.search(repr(node.value)), f"{path}:{node.lineno} {node.value}"


def test_modules_stay_short(tracked: list[Path]) -> None:
    long = {
        path.relative_to(ROOT).as_posix(): count
        for path in tracked
        if path.suffix == ".py" and path.exists() and "migrations" not in path.parts
        if (count := path.read_text().count("\n")) > LONGEST
    }
    assert not long


def test_no_circle_of_imports() -> None:
    packages = [*SERVICES, "kit", "gateway", "sandbox", "beam", "contracts"]
    graph = grimp.build_graph(*packages, exclude_type_checking_imports=True, cache_dir=None)
    state: dict[str, int] = {}
    path: list[str] = []

    def visit(module: str) -> None:
        state[module] = 1
        path.append(module)
        for other in sorted(graph.find_modules_directly_imported_by(module)):
            if state.get(other) == 1:
                raise AssertionError(" → ".join([*path[path.index(other) :], other]))
            if other not in state:
                visit(other)
        path.pop()
        state[module] = 2

    for module in sorted(graph.modules):
        if module not in state:
            visit(module)
