"""Where a deployment lives on this machine: its data folder, its ports, its lock, its version."""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kit.embedded.process import port_taken

from . import VERSION
from .programs import (
    NATS_MONITOR_OFFSET,
    NATS_OFFSET,
    POSTGRES_OFFSET,
    Program,
)
from .trouble import Trouble


class Place:
    """`BEAM_DATA` (default `./.data`) and `BEAM_PORT_BASE` (default 8000)."""

    def __init__(self, data: Path, port_base: int, via_base: int | None = None) -> None:
        """`via_base`: from where programs reach each other when a proxy stands between them."""
        self.data = data.absolute()
        self.port_base = port_base
        self.via_base = via_base or port_base
        self.nats_port = port_base + NATS_OFFSET
        self.nats_monitor_port = port_base + NATS_MONITOR_OFFSET
        self.postgres_port = port_base + POSTGRES_OFFSET
        self.unclean = False
        """Whether the run before was killed: what it left may still be ending."""
        self._lock: int | None = None
        self._ours = False

    @classmethod
    def from_environment(cls) -> "Place":
        raw = os.environ.get("BEAM_PORT_BASE", "8000")
        # Every port of ours must exist: the highest is base + 32.
        if not raw.isascii() or not raw.isdigit() or not 1 <= int(raw) <= 65535 - POSTGRES_OFFSET:
            raise Trouble(
                f"BEAM_PORT_BASE 应为 1 到 {65535 - POSTGRES_OFFSET} 之间的整数。",
                f"BEAM_PORT_BASE must be a whole number from 1 to {65535 - POSTGRES_OFFSET}.",
            )
        via = int(os.environ.get("BEAM_VIA_BASE", "0"))
        return cls(Path(os.environ.get("BEAM_DATA", ".data")), int(raw), via)

    def port(self, program: Program) -> int:
        return self.port_base + program.offset

    def url(self, program: Program) -> str:
        return f"http://127.0.0.1:{self.port(program)}"

    @property
    def run_file(self) -> Path:
        return self.data / "run.json"

    @property
    def keys(self) -> Path:
        """Folder of generated keys that the outside world and we share (sandbox.keys)."""
        return self.data / "keys"

    @property
    def anchors(self) -> Path:
        """Heads of the sealed records, beside the database; `beam restore` leaves them."""
        return self.data / "audit"

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    def open(self) -> None:
        """Create the folder, take its lock, check its version. Raises Trouble."""
        try:
            self.data.mkdir(parents=True, exist_ok=True)
            # Others may walk through to what is theirs (PostgreSQL's user), not look around.
            self.data.chmod(0o711 if os.geteuid() == 0 else 0o700)
            self.logs.mkdir(mode=0o700, exist_ok=True)
            self._lock = os.open(self.data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise Trouble(
                f"无法写入资料目录 {self.data}({exc.strerror})。请设置 BEAM_DATA 换一个目录。",
                f"Cannot write the data folder {self.data} ({exc.strerror}). Set BEAM_DATA to "
                "another one.",
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = self.holder()
            self.close()
            raise Trouble(
                f"资料目录 {self.data} 正在被另一个 beam 使用(进程 {holder})。请先执行 "
                "make stop,或设置 BEAM_DATA 与 BEAM_PORT_BASE 另起一套。",
                f"Another beam uses the data folder {self.data} (process {holder}). Run make stop "
                "first, or set BEAM_DATA and BEAM_PORT_BASE to start a second one.",
            ) from None
        self._check_version()
        # Its number stays in the file only when a run was killed.
        self.unclean = os.fstat(self._lock).st_size > 0
        os.truncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        self._ours = True
        self.run_file.unlink(missing_ok=True)

    def close(self) -> None:
        """Give the lock back; all that we started has ended."""
        if self._lock is not None:
            if self._ours:
                os.truncate(self._lock, 0)
            os.close(self._lock)
            self._lock = None

    def holder(self) -> int | None:
        """Process id of the supervisor that uses this folder, if one does."""
        path = self.data / "lock"
        try:
            with open(path, "rb") as file:
                text = file.read().strip()
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return int(text) if text else None
        except OSError:
            return None
        return None

    def _check_version(self) -> None:
        file = self.data / "VERSION"
        if not file.exists():
            with file.open("w") as fresh:
                fresh.write(VERSION + "\n")
                fresh.flush()
                os.fsync(fresh.fileno())
            return
        found = file.read_text().strip()
        if found.split(".")[:2] != VERSION.split(".")[:2]:
            self.close()
            raise Trouble(
                f"资料目录 {self.data} 来自版本 {found},当前版本是 {VERSION}。请用版本 {found} "
                "打开它,或设置 BEAM_DATA 换一个新目录,或执行 make clean(会删除数据)。",
                f"The data folder {self.data} is of version {found}, this is {VERSION}. Open it "
                f"with version {found}, or set BEAM_DATA to a new folder, or run make clean "
                "(deletes the data).",
            )

    def check_ports(self, programs: Sequence[Program], *, postgres: bool, nats: bool) -> None:
        """Raise Trouble for the first port that somebody else holds.

        After a killed run its programs are given some seconds to notice; PostgreSQL and NATS then
        look after their own remains when they start.
        """
        ports = {program.name: self.port(program) for program in programs}
        if postgres and not self.unclean:
            ports["PostgreSQL"] = self.postgres_port
        if nats and not self.unclean:
            ports |= {"NATS": self.nats_port, "NATS monitor": self.nats_monitor_port}
        deadline = time.monotonic() + (15 if self.unclean else 0)
        for name, port in ports.items():
            while port_taken(port):
                if time.monotonic() < deadline:
                    time.sleep(0.1)
                    continue
                who = _listener(port)
                zh, en = (f",进程 {who}", f" by process {who}") if who else ("", "")
                raise Trouble(
                    f"端口 {port}({name})已被占用{zh}。请关闭它,或换一组端口,例如 "
                    "BEAM_PORT_BASE=9000 make run。",
                    f"Port {port} ({name}) is taken{en}. Stop it, or use other ports, for example "
                    "BEAM_PORT_BASE=9000 make run.",
                )


def write_whole(path: Path, document: Any, mode: int = 0o600) -> None:
    """Write JSON so that a reader sees the old file or the new one, never a part."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode)
    with open(fresh, "w") as file:
        json.dump(document, file, ensure_ascii=False, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _listener(port: int) -> str | None:
    """`1234 python` of whoever listens on the port; None where the system does not tell."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == "0A" and int(words[1].rsplit(":", 1)[1], 16) == port:
                    inodes.add(f"socket:[{words[9]}]")
    for link in _open_files():
        with contextlib.suppress(OSError):
            if os.readlink(link) in inodes:
                process = link.parent.parent
                return f"{process.name} {(process / 'comm').read_text().strip()}"
    return None


def _open_files() -> Iterator[Path]:
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield from (process / "fd").iterdir()
