"""One file with everything that cannot be made again: all databases, keys, and a manifest.

The databases are dumped from snapshots that were all taken within some milliseconds, while work
goes on. The broker's store is not saved: PostgreSQL is the record, and what a new, empty stream
lacks the relays fill in again from the outboxes; what comes twice the inboxes know.

Standard library only: the host of a container deployment runs it, too (deploy/host.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FORMAT = 1
MANIFEST = "manifest.json"
# Newer Pythons want to be told that nothing but plain files may come out.
_PLAIN: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
AFTER_RESTORE = (
    "启动后请确认恢复,封存随即继续 / then, so that sealing goes on: make audit-accept REASON=…"
)
# The number of a transaction says nothing on another server, whose count may be behind: the feed
# would hold such a row for one that is not committed yet, and hide it. All that was dumped was.
_FORGET_TRANSACTIONS = """
do $$ declare c record; begin
  for c in select table_name as t, column_name as n from information_schema.columns
    where table_schema = 'public' and udt_name = 'xid8'
  loop
    execute format('update %I set %I = %L', c.t, c.n, '0');
  end loop;
end $$
"""
_TABLES = (
    "select format('%I', tablename) from pg_tables where schemaname = 'public' order by tablename"
)


class Refused(Exception):
    """Why nothing was done: `zh` and `en` are whole sentences."""

    def __init__(self, zh: str, en: str) -> None:
        super().__init__(f"{zh} / {en}")
        self.zh, self.en = zh, en


@dataclass(frozen=True)
class Server:
    """How PostgreSQL's own programs reach one server as its administrator."""

    prefix: tuple[str, ...] = ()
    """What goes before the program: nothing, or `docker compose … exec -T postgres`."""
    folder: str = ""
    """Where the programs are, with a slash at the end; empty: on the PATH."""
    connection: tuple[str, ...] = ("-U", "postgres")
    environment: Mapping[str, str] = field(default_factory=dict)

    def command(self, program: str, *arguments: str) -> list[str]:
        return [*self.prefix, self.folder + program, *self.connection, *arguments]

    def environ(self) -> dict[str, str]:
        return {**os.environ, **self.environment}

    def sql(self, database: str, text: str) -> list[str]:
        """The lines of an answer. Raises Refused with what PostgreSQL says."""
        command = self.command("psql", "-XqAtw", "-v", "ON_ERROR_STOP=1", "-d", database)
        done = subprocess.run(
            command, input=text, text=True, capture_output=True, check=False, env=self.environ()
        )
        if done.returncode != 0:
            raise Refused(
                f"PostgreSQL 未能执行({database}):{done.stderr.strip()}",
                f"PostgreSQL refused ({database}): {done.stderr.strip()}",
            )
        return done.stdout.splitlines()

    @property
    def version(self) -> str:
        return self.sql("postgres", "show server_version")[0].split()[0]

    def databases(self) -> list[str]:
        return self.sql(
            "postgres", r"select datname from pg_database where datname like 'beam\_%' order by 1"
        )


def counts(server: Server, database: str) -> dict[str, int]:
    """Rows of every table."""
    with _session(server, database) as session:
        return session.counts()


class _Session:
    """One psql with an open transaction, so that what it sees stays as it is."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, text: str) -> list[str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{text};\n\\echo =end=\n")
        self._process.stdin.flush()
        lines = []
        while (line := self._process.stdout.readline()) != "=end=\n":
            if not line:
                raise Refused("PostgreSQL 中断了连接。", "PostgreSQL cut the connection.")
            lines.append(line.rstrip("\n"))
        return lines

    def counts(self) -> dict[str, int]:
        tables = self.ask(_TABLES)
        return {t.strip('"'): int(self.ask(f"select count(*) from {t}")[0]) for t in tables}


@contextlib.contextmanager
def _session(server: Server, database: str) -> Iterator[_Session]:
    process = subprocess.Popen(
        server.command("psql", "-XqAtw", "-v", "ON_ERROR_STOP=1", "-d", database),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=server.environ(),
    )
    try:
        session = _Session(process)
        # Whoever holds the snapshot may wait long while the others are dumped.
        session.ask("set idle_in_transaction_session_timeout = 0")
        session.ask("begin isolation level repeatable read, read only")
        yield session
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.wait()
        process.stdout.close()


def make(server: Server, files: Mapping[str, Path], target: Path, version: str) -> dict[str, Any]:
    """Write the backup to `target` and return its manifest. `files`: name in it → file or folder.

    Only a whole and checked file ever has the name `target`; it holds keys, so its mode is 0600.
    """
    if target.exists():
        raise Refused(f"{target} 已经存在。", f"{target} is already there.")
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".backup-", dir=target.parent))
    try:
        manifest: dict[str, Any] = {
            "format": FORMAT,
            "made_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "version": version,
            "postgres": server.version,
            "databases": _dump_all(server, work),
            "files": {},
        }
        for name, source in _walk(files):
            copy = work / "files" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
            manifest["files"][name] = _sha256(copy)
        (work / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
        part = work / "whole"
        part.touch(0o600)
        with tarfile.open(part, "w") as archive:
            for name in (MANIFEST, "databases", "files"):
                if (work / name).exists():
                    archive.add(work / name, name)
        with open(part, "rb") as whole:
            os.fsync(whole.fileno())
        part.replace(target)
    finally:
        shutil.rmtree(work)
    # Operators see in each database how old its last backup is.
    for database in manifest["databases"]:
        comment = f"comment on database {database} is 'backup {manifest['made_at']}'"
        server.sql("postgres", comment)
    return manifest


def _dump_all(server: Server, work: Path) -> dict[str, Any]:
    databases = server.databases()
    if not databases:
        raise Refused("这里没有数据库可备份。", "There are no databases here.")
    (work / "databases").mkdir()
    made: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        sessions = {d: stack.enter_context(_session(server, d)) for d in databases}
        snapshots = {d: s.ask("select pg_export_snapshot()")[0] for d, s in sessions.items()}
        for database in databases:
            file = work / "databases" / f"{database}.dump"
            with open(file, "xb") as out:
                done = subprocess.run(
                    server.command(
                        "pg_dump", "-w", "-Fc", f"--snapshot={snapshots[database]}", "-d", database
                    ),
                    stdout=out,
                    env=server.environ(),
                    check=False,
                )
            if done.returncode != 0:
                raise Refused(f"{database} 未能导出,原因见上。", f"{database}: pg_dump failed.")
            made[database] = {
                "sha256": _sha256(file),
                "bytes": file.stat().st_size,
                "migration": sessions[database].ask("select version_num from alembic_version")[0],
                "rows": sessions[database].counts(),
            }
    return made


def _walk(files: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    for name, source in files.items():
        if source.is_dir():
            for file in sorted(source.rglob("*")):
                if file.is_file():
                    yield f"{name}/{file.relative_to(source)}", file
        elif source.exists():
            yield name, source


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with open(file, "rb") as content:
        while part := content.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


@contextlib.contextmanager
def opened(backup: Path, version: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A checked backup, unpacked into a folder that goes away, and its manifest.

    Raises Refused when a checksum does not hold or it is of another version."""
    if not backup.is_file():
        raise Refused(f"没有文件 {backup}。", f"There is no file {backup}.")
    folder = Path(tempfile.mkdtemp(prefix=".restore-", dir=backup.parent))
    try:
        try:
            with tarfile.open(backup) as archive:
                for member in archive.getmembers():
                    whole = (folder / member.name).resolve()
                    if not (member.isfile() or member.isdir()) or folder.resolve() not in (
                        whole, *whole.parents
                    ):  # fmt: skip
                        raise tarfile.TarError(member.name)
                    archive.extract(member, folder, **_PLAIN)
            manifest = json.loads((folder / MANIFEST).read_text())
        except (tarfile.TarError, OSError, ValueError) as exc:
            raise Refused(
                f"{backup} 不是完整的备份({type(exc).__name__})。",
                f"{backup} is no whole backup ({type(exc).__name__}).",
            ) from None
        _check(folder, manifest, version)
        yield folder, manifest
    finally:
        shutil.rmtree(folder)


def _check(folder: Path, manifest: Mapping[str, Any], version: str) -> None:
    if manifest["format"] != FORMAT or _line(manifest["version"]) != _line(version):
        raise Refused(
            f"备份来自版本 {manifest['version']},当前版本是 {version}。请用版本 "
            f"{manifest['version']} 恢复,然后升级。",
            f"The backup is of version {manifest['version']}, this is {version}. Restore it with "
            f"version {manifest['version']}, then upgrade.",
        )
    told = {f"databases/{d}.dump": v["sha256"] for d, v in manifest["databases"].items()}
    told |= {f"files/{name}": digest for name, digest in manifest["files"].items()}
    for name, digest in told.items():
        if not (folder / name).is_file() or _sha256(folder / name) != digest:
            raise Refused(f"备份已损坏:{name}。", f"The backup is damaged: {name}.")


def _line(version: str) -> list[str]:
    return version.split(".")[:2]


def check_server(server: Server, manifest: Mapping[str, Any]) -> None:
    """Raise Refused when the server is of another major version than the backup's."""
    check_major(server.version, manifest)


def check_major(ours: str, manifest: Mapping[str, Any]) -> None:
    """The same for a server that is not running: `ours` is the version of its programs."""
    theirs = manifest["postgres"]
    if ours.split(".")[0] != theirs.split(".")[0]:
        raise Refused(
            f"备份来自 PostgreSQL {theirs},当前是 {ours},主版本不同。",
            f"The backup is of PostgreSQL {theirs}, this is {ours}: another major version.",
        )


def fill(server: Server, folder: Path, manifest: Mapping[str, Any]) -> None:
    """Put every database of the unpacked backup in place of the one there, and count its rows.

    Roles must be there, and nobody connected. Raises Refused; then run it again."""
    for database, told in manifest["databases"].items():
        service = database.removeprefix("beam_")
        server.sql(
            "postgres",
            f'drop database if exists "{database}" with (force);\n'
            f'create database "{database}" owner "{service}_owner" template template0;\n'
            f'revoke all on database "{database}" from public;\n'
            f'grant connect on database "{database}" to "{service}_svc";',
        )
        with open(folder / "databases" / f"{database}.dump", "rb") as dump:
            done = subprocess.run(
                server.command("pg_restore", "-w", "--single-transaction", "-d", database),
                stdin=dump,
                env=server.environ(),
                check=False,
            )
        if done.returncode != 0:
            raise Refused(f"{database} 未能恢复,原因见上。", f"{database}: pg_restore failed.")
        server.sql(database, _FORGET_TRANSACTIONS)
        server.sql(database, "analyze")
        found = counts(server, database)
        if found != told["rows"]:
            odd = [t for t, n in told["rows"].items() if found.get(t) != n]
            raise Refused(f"{database} 行数不符:{odd}", f"{database}: rows differ in {odd}")


def summary(manifest: Mapping[str, Any]) -> str:
    """One line for people."""
    rows = sum(sum(d["rows"].values()) for d in manifest["databases"].values())
    return (
        f"{len(manifest['databases'])} 个数据库 / databases, {rows} 行 / rows, "
        f"{len(manifest['files'])} 个密钥与状态文件 / files, 版本 / version {manifest['version']}, "
        f"PostgreSQL {manifest['postgres']}, {manifest['made_at']}"
    )


def default_name(folder: Path) -> Path:
    return folder / f"one-beam-{time.strftime('%Y%m%d-%H%M%S')}.tar"


def same(left: Path, right: Path, names: Sequence[str]) -> list[str]:
    """Which of the files differ between two folders, or are missing in one."""
    return [
        name
        for name in names
        if not (left / name).is_file()
        or not (right / name).is_file()
        or (left / name).read_bytes() != (right / name).read_bytes()
    ]
