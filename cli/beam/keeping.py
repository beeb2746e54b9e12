"""`beam backup` and `beam restore` of the embedded platform; for containers see deploy/host.py."""

import asyncio
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kit.embedded import PostgresServer
from kit.embedded.postgres import SUPERUSER, install_folder

from . import VERSION, backups
from .place import Place
from .provision import provision
from .secret_store import SecretStore
from .trouble import Trouble

FILES = ("secrets.json", "clients.json", "vault", "keys", "state.json")
"""What of the data folder goes along with the databases."""


def _tools(server: PostgresServer) -> backups.Server:
    parts = urlsplit(server.dsn())
    return backups.Server(
        folder=f"{install_folder() / 'bin'}/",
        connection=("-h", "127.0.0.1", "-p", str(parts.port), "-U", SUPERUSER),
        environment={"PGPASSWORD": server.superuser_password},
    )


def _programs_version() -> str:
    """Of the embedded PostgreSQL: 18.4."""
    command = [str(install_folder() / "bin" / "postgres"), "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except backups.Refused as problem:
        raise Trouble(problem.zh, problem.en) from None


def backup(place: Place, target: Path | None) -> tuple[Path, dict[str, Any]]:
    """Also while the platform runs. Returns the file and its manifest."""
    target = (target or backups.default_name(Path("backups"))).absolute()
    files = {name: place.data / name for name in FILES}
    server = PostgresServer(place.data / "postgres", place.postgres_port)
    if not (place.data / "VERSION").exists():
        raise Trouble(
            f"资料目录 {place.data} 里没有资料。",
            f"There is nothing in the data folder {place.data}.",
        )
    with _told():
        if place.holder() is not None:
            return target, backups.make(_tools(server), files, target, VERSION)
        place.open()
        try:
            with server:
                return target, backups.make(_tools(server), files, target, VERSION)
        finally:
            place.close()


def restore(place: Place, source: Path) -> dict[str, Any]:
    """Put a backup in place of what the data folder holds, which is moved aside, not deleted.

    Refuses while the platform runs, and for a backup of another version of it or of PostgreSQL."""
    if (pid := place.holder()) is not None:
        raise Trouble(
            f"平台正在运行(进程 {pid}),不能恢复。请先执行 make stop。",
            f"The platform is running (process {pid}): run make stop first.",
        )
    with _told(), backups.opened(source.absolute(), VERSION) as (folder, manifest):
        backups.check_major(_programs_version(), manifest)
        place.open()
        try:
            _move_aside(place.data)
            _put_back(folder / "files", place.data)
            with PostgresServer(place.data / "postgres", place.postgres_port) as server:
                tools = _tools(server)
                secrets = SecretStore(place.data)
                asyncio.run(provision(server.dsn(), secrets.database_passwords()))
                backups.fill(tools, folder, manifest)
        finally:
            place.close()
    return manifest


def _move_aside(data: Path) -> None:
    """PostgreSQL's cluster, the broker's store (the outboxes fill a new one) and the keys."""
    aside = data / f"replaced-{time.strftime('%Y%m%d-%H%M%S')}"
    for name in ("postgres", "nats", *FILES):
        if (data / name).exists():
            aside.mkdir(mode=0o711, exist_ok=True)
            (data / name).rename(aside / name)
    pointer = aside / "postgres" / "location"
    if pointer.exists():
        # The files lie elsewhere, and would be removed as nobody's.
        (Path(pointer.read_text()) / "belongs-to").write_text(str(aside / "postgres"))


def _put_back(files: Path, data: Path) -> None:
    if files.exists():
        shutil.copytree(files, data, dirs_exist_ok=True)
    for name in FILES:
        part = data / name
        for file in [part, *part.rglob("*")] if part.exists() else []:
            file.chmod(0o700 if file.is_dir() else 0o600)
