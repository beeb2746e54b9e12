"""What others rely on is written down, current, and true."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from beam import contracts as published
from contracts.audit import _AuditSealed
from contracts.event import EVENTS, Event
from kit.states import as_table
from kit.testing import Ground

from .conftest import ROOT, SERVICES, modules


def test_published_contracts_are_current() -> None:
    stale = [
        name
        for name, content in published.files().items()
        if not (ROOT / name).exists() or (ROOT / name).read_text() != content
    ]
    assert not stale, "run `make contracts`"
    known = {ROOT / name for name in published.files()}
    left = [path for path in (ROOT / "contracts/published").rglob("*.json") if path not in known]
    assert not left, "run `make contracts`"


@pytest.mark.parametrize("event", EVENTS.values(), ids=lambda event: event.TYPE)
def test_every_event_is_emitted_by_its_owner_and_nobody_else(event: type[Event]) -> None:
    if issubclass(event, _AuditSealed):  # the kit makes it, in each service
        assert event.__name__.lower() == event.TYPE.split(".")[0] + "auditsealed"
        return
    made = re.compile(rf"\b{event.__name__}\(")
    on_an_edge = re.compile(rf'"\w+"[,:]\s*{event.__name__}\b')
    makers = {
        service
        for service in SERVICES
        for path in modules(service)
        if made.search(content := path.read_text()) or on_an_edge.search(content)
    }
    assert makers == {f"{event.owner()}_svc"}, f"{event.TYPE} is made in {makers}"


@pytest.mark.parametrize("service", SERVICES)
def test_the_readme_shows_every_edge(service: str) -> None:
    readme = (ROOT / service.replace("_", "-") / "README.md").read_text()
    for path in modules(service):
        for name in re.findall(r"^(\w*TRANSITIONS): Transitions", path.read_text(), re.M):
            module = import_module(f"{service}.{path.stem}")
            for line in as_table(getattr(module, name)).splitlines():
                assert line in readme, f"{service}: {name} is not in the README as it is"


def test_the_feed_hears_every_event() -> None:
    for kind, listeners in published.listeners().items():
        assert "exchange.keep_in_feed" in listeners, kind


def test_event_data_names_no_person() -> None:
    forbidden = re.compile(r"(^|_)(name|phone|mobile|id_number|id_no|address|street|email)$")
    for event in EVENTS.values():
        for field in event.model_fields:
            assert field == "item_name" or not forbidden.search(field), f"{event.TYPE}.{field}"


def test_the_lock_names_every_dependency_and_no_place() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    blocks = re.split(r"\n(?=[a-zA-Z0-9])", lock.strip())
    assert all("--hash=sha256:" in block for block in blocks if "==" in block)
    pinned = {re.split(r"[=\[;\s]", block)[0].lower() for block in blocks}
    project = (ROOT / "pyproject.toml").read_text().split("[project.scripts]")[0]
    wanted = re.findall(r'^\s+"([A-Za-z0-9._-]+)(?:\[[a-z]+\])?[><=;~ ]?', project, re.M)
    wanted += re.findall(r'"([A-Za-z0-9._-]+)(?:\[[a-z]+\])?>=', project)
    assert len(wanted) > 20
    assert {name.lower() for name in wanted} <= pinned


@pytest.mark.parametrize("service", SERVICES)
async def test_models_equal_migrations_and_there_is_one_head(service: str, ground: Ground) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import create_async_engine

    from kit.migrate import config_for

    config = config_for(service)
    assert len(ScriptDirectory.from_config(config).get_heads()) == 1
    engine = create_async_engine(await ground.database(service))

    def compare(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, config.attributes["metadata"]))

    async with engine.connect() as connection:
        differences = await connection.run_sync(compare)
    await engine.dispose()
    assert not differences


def test_no_place_of_this_world_is_written_down(tracked: list[Path]) -> None:
    """No registry, no content network, no folder of a developer's machine."""
    hosts = ("py" + "pi.org", "python" + "hosted", "npm" + "js", "registry.n" + "pm")
    networks = ("unp" + "kg.com", "jsde" + "livr", "cdn" + "js", "fonts.goog" + "leapis")
    folders = ("/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/")
    text_kinds = {".py", ".md", ".toml", ".lock", ".yaml", ".yml", ".html", ".css", ".js", ".sh"}
    for path in tracked:
        named = path.suffix in text_kinds or path.name in ("Makefile", "Dockerfile", "run")
        if not named or not path.exists():
            continue
        content = path.read_text(errors="replace")
        for word in (*hosts, *networks, *folders):
            assert word not in content, f"{path.relative_to(ROOT)} names {word}"
