"""The supervisor's side of the zygote: ask for forks, hear the ends of children."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kit.embedded.process import preloaded

from . import wire


class Child:
    """A forked process. `ended` is set when its line to us closes, however it died."""

    def __init__(self, name: str, pid: int, line: socket.socket, output: int) -> None:
        self.name = name
        self.pid = pid
        self.ended = asyncio.Event()
        self.told: list[dict[str, Any]] = []
        self._line = line
        self._output = output
        self._loop = asyncio.get_running_loop()

    def listen(self, on_line: Callable[[str, str], None]) -> None:
        """Begin to hear its messages, its end, and the lines it prints."""
        self._line.setblocking(True)
        self._loop.add_reader(self._line, self._hear)
        os.set_blocking(self._output, False)
        self._rest = b""
        self._on_line = on_line
        self._loop.add_reader(self._output, self._read_output)

    def _hear(self) -> None:
        got = wire.receive(self._line)
        if got is None:
            self._loop.remove_reader(self._line)
            self._line.close()
            self.ended.set()
        else:
            self.told.append(got[0])

    def _read_output(self) -> None:
        try:
            part = os.read(self._output, 65536)
        except BlockingIOError:
            return
        lines = (self._rest + part).split(b"\n")
        self._rest = lines.pop() if part else b""
        for line in lines:
            if line:
                self._on_line(self.name, line.decode(errors="replace"))
        if not part:
            self._loop.remove_reader(self._output)
            os.close(self._output)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended (its number may then be another's)."""
        if not self.ended.is_set():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return

    def collect(self) -> None:
        """After its end: if its zygote died before it, we have inherited it and bury it."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)

    async def stop(self, patience: float) -> None:
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        try:
            await asyncio.wait_for(self.ended.wait(), patience)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self.ended.wait()
        self.collect()


class Nursery:
    """One zygote process; `start` again after it died. Requests are answered in turn."""

    def __init__(self, log: Path, run_file: Path) -> None:
        self._log, self._run_file = log, run_file
        self._turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._control: socket.socket | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start the zygote; it answers once its imports are done."""
        ours, theirs = socket.socketpair()
        with open(self._log, "ab") as out:  # noqa: ASYNC230  once, at the start
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "beam.zygote",
                str(theirs.fileno()),
                str(self._run_file),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                env=os.environ | preloaded(),
            )
        theirs.close()
        self._control = ours

    async def wait(self) -> int:
        """Until the zygote has died; its exit code."""
        assert self._process is not None
        return await self._process.wait()

    async def ask(self, message: Mapping[str, Any], files: tuple[int, ...] = ()) -> Any:
        """Raises ConnectionError when the zygote is gone."""
        async with self._turn:
            return await asyncio.to_thread(self._exchange, message, files)

    def _exchange(self, message: Mapping[str, Any], files: tuple[int, ...]) -> Any:
        if self._control is None:
            raise ConnectionError("no zygote")
        wire.send(self._control, message, files)
        answer = wire.receive(self._control)
        if answer is None:
            raise ConnectionError("the zygote is gone")
        return answer[0]

    async def fork(
        self, name: str, message: Mapping[str, Any], on_line: Callable[[str, str], None]
    ) -> Child:
        """Fork a child that runs programs or a task. Raises ConnectionError."""
        ours, theirs = socket.socketpair()
        reading, writing = os.pipe()
        try:
            answer = await self.ask({"op": "fork", **message}, (theirs.fileno(), writing))
        except BaseException:
            ours.close()
            os.close(reading)
            raise
        finally:
            theirs.close()
            os.close(writing)
        child = Child(name, answer["pid"], ours, reading)
        child.listen(on_line)
        return child

    async def exit_code(self, child: Child) -> int | None:
        """How an ended child ended; None when the zygote that knew is gone."""
        try:
            code: int | None = (await self.ask({"op": "status", "pid": child.pid}))["code"]
        except OSError:
            return None
        return code

    async def stop(self) -> None:
        """Let it go: it ends when its control socket closes and its children have ended."""
        if self._control is not None:
            # A request may be waiting for its answer in a thread: this wakes it up.
            with contextlib.suppress(OSError):
                self._control.shutdown(socket.SHUT_RDWR)
            self._control.close()
            self._control = None
        if self._process is not None and self._process.returncode is None:
            try:
                await asyncio.wait_for(self._process.wait(), 25)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
