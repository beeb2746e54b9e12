"""Backup and restore of an installation in containers; called by host.py."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

from engine import DEPLOY, SECRETS, SERVICES, command, compose, docker, fail, servers_here, settings

sys.path[:0] = [str(Path(os.environ.get("BEAM_ROOT") or DEPLOY.parent) / "cli")]

from beam import VERSION, backups  # noqa: E402  (these two need the standard library only)


def _server() -> backups.Server:
    """PostgreSQL's own programs, in its container, where its administrator needs no password."""
    return backups.Server(
        prefix=(*command(), "exec", "-T", "postgres"),
    )


def backup(target: Path | None) -> int:
    """All databases and deploy/secrets in one file, while everything runs."""
    _here()
    made = (target or backups.default_name(DEPLOY / "backups")).resolve()
    manifest = backups.make(_server(), {"secrets": SECRETS}, made, _version())
    print(f"✓ {made}\n  {backups.summary(manifest)}")
    return 0


def _here() -> None:
    if not servers_here():
        fail(
            "PostgreSQL 不在本机(SERVERS=elsewhere):请用它自己的备份(pg_basebackup、pg_dump),"
            "并另存 deploy/secrets/。",
            "PostgreSQL is elsewhere: back it up there (pg_basebackup, pg_dump), and keep a copy "
            "of deploy/secrets/.",
        )


def _version() -> str:
    """Of what runs: the tag of the image where it is a version's, else that of this code."""
    tag = settings().get("BEAM_VERSION", "")
    return tag if re.match(r"\d+\.\d+", tag) else VERSION


def restore(source: Path) -> int:
    """Put a backup in place of what is there. Everything but PostgreSQL must be stopped."""
    _here()
    running = set(compose("ps", "--services", capture=True).split()) - {"postgres"}
    if running:
        fail(
            f"平台正在运行({', '.join(sorted(running))}),不能恢复。请先执行 make down。",
            "The platform is running: run make down first.",
        )
    with backups.opened(source.resolve(), _version()) as (folder, manifest):
        _same_keys(folder / "files" / "secrets")
        compose("up", "-d", "--wait", "postgres")
        backups.check_server(_server(), manifest)
        compose("run", "--rm", "--no-deps", "init")
        backups.fill(_server(), folder, manifest)
    # The events that this stream holds may be of a time that is no more. The relays fill a new one.
    compose("rm", "-sf", "nats", "prepare")
    name = json.loads(compose("config", "--format", "json", capture=True))["name"]
    volume = f"{name}_nats-data"
    there = docker("volume", "inspect", volume) is not None
    if there and docker("volume", "rm", volume) is None:
        fail(f"数据卷 {volume} 没有删除。", f"The volume {volume} could not be removed.")
    print(f"✓ {backups.summary(manifest)}\n  make up smoke\n  {backups.AFTER_RESTORE}")
    return 0


def _same_keys(saved: Path) -> None:
    """The sealed rows open only with the keys of their time."""
    odd = backups.same(SECRETS, saved, [f"vault/{service}.json" for service in SERVICES])
    if odd:
        fail(
            f"deploy/secrets/ 的密钥与备份中的不同:{', '.join(odd)}。请把 deploy/secrets/ 移到一旁,"
            "从备份中解出:tar -xf 备份 -C deploy --strip-components 1 files/secrets",
            "The keys in deploy/secrets/ are not those of the backup. Move that folder aside and "
            "take the backup's: tar -xf FILE -C deploy --strip-components 1 files/secrets",
        )
