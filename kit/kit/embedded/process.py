"""A server process that cannot outlive us: started in its own session, guarded by a pipe."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

# The guard reads from a pipe whose other end only we hold. The word `done` dismisses it; an end of
# file means that we died without stopping the server (SIGKILL, out of memory): then the guard does
# it, and removes what was only ours. A shell of 1 MB works the same on Linux and macOS, and unlike
# PR_SET_PDEATHSIG it does not fire when merely the starting thread ends.
_GUARD = """
trap '' INT TERM HUP QUIT
read -r word && [ "$word" = done ] && exit 0
signal=$1; pid=$2; shift 2
kill -"$signal" "$pid" 2>/dev/null
n=0
while kill -0 "$pid" 2>/dev/null && [ $n -lt 150 ]; do sleep 0.1; n=$((n+1)); done
kill -KILL "$pid" 2>/dev/null
[ $# -eq 0 ] || rm -rf -- "$@"
"""


class EmbeddedError(RuntimeError):
    """The server cannot run here; `zh` and `en` each say what happened and what to do."""

    def __init__(self, zh: str, en: str) -> None:
        super().__init__(f"{zh} / {en}")
        self.zh = zh
        self.en = en


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at this moment.

    Below the range from which the system takes ports for outgoing connections (Linux: 32768,
    macOS: 49152): a server that is started again finds its port still free.
    """
    # nosemgrep: guessable-random -- a port is no secret
    while port_taken(port := random.randrange(12000, 32000)):
        pass
    return port


def port_taken(port: int) -> bool:
    """Whether something listens on 127.0.0.1:`port` (a closed connection's rest does not count)."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    if sys.platform == "linux":
        return False
    # Elsewhere one address can be bound while somebody listens on all of them.
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def preloaded() -> dict[str, str]:
    """What BEAM_PRELOAD asks to be preloaded (LD_PRELOAD) in the servers and programs, not in who
    starts them: fault tests move clocks with it."""
    library = os.environ.get("BEAM_PRELOAD")
    faked = {name: value for name, value in os.environ.items() if name.startswith("FAKETIME")}
    return faked | {"LD_PRELOAD": library} if library else {}


class GuardedProcess:
    """One running server; `stop` ends it in order, and our own death ends it too."""

    def __init__(
        self,
        args: Sequence[str | Path],
        *,
        log: Path,
        stop_signal: signal.Signals,
        cwd: Path | None = None,
        user: tuple[int, int] | None = None,
        env: dict[str, str] | None = None,
        remove: Sequence[Path] = (),
    ) -> None:
        """Start `args` with both outputs appended to `log`.

        `user` (uid, gid) is what root drops to. `remove` are folders that the guard deletes if we
        die: temporary data of tests, socket folders.
        """
        uid, gid = user or (None, None)
        self._stop_signal = stop_signal
        with open(log, "ab") as out:
            self._process = subprocess.Popen(
                [str(a) for a in args],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=env,
                start_new_session=True,
                user=uid,
                group=gid,
                extra_groups=[] if user else None,
            )
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guard", stop_signal.name.removeprefix("SIG"),
             str(self._process.pid), *(str(p) for p in remove)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        """None while it runs, else its exit code. When it is over the guard is dismissed."""
        code = self._process.poll()
        if code is not None:
            self._dismiss_guard()
        return code

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def stop(self, patience: float = 20.0) -> int:
        """Ask it to end, wait `patience` seconds, then kill it. Returns the exit code."""
        if self._process.poll() is None:
            self._process.send_signal(self._stop_signal)
            # A stopped (SIGSTOP) process takes no signal but these two.
            self._process.send_signal(signal.SIGCONT)
        try:
            code = self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._dismiss_guard()
        return code

    def _dismiss_guard(self) -> None:
        pipe = self._guard.stdin
        if pipe is None or pipe.closed:
            return
        try:
            pipe.write(b"done\n")
            pipe.close()
        except BrokenPipeError:
            pass  # the guard itself was killed: nothing is left to dismiss
        self._guard.wait()


def _command_line(pid: int) -> str:
    proc = Path(f"/proc/{pid}/cmdline")
    if Path("/proc/self").exists():
        try:
            return proc.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    answer = subprocess.run(
        ["ps", "-p", str(pid), "-o", "command="], capture_output=True, text=True, check=False
    )
    return answer.stdout


def stop_leftover(pid: int, mark: str, stop_signal: signal.Signals, patience: float = 20.0) -> bool:
    """End a server that an earlier, killed run of ours left behind.

    Only a process whose command line holds `mark` (our data folder) is touched: process ids are
    reused. Returns whether there was one.
    """
    if pid <= 1 or pid == os.getpid() or mark not in _command_line(pid):
        return False
    deadline = time.monotonic() + patience
    number = stop_signal
    while mark in _command_line(pid):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            break
        number = signal.SIGKILL if time.monotonic() > deadline else stop_signal
        time.sleep(0.1)
    return True


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log file, for an error message."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
