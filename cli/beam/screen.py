"""What the operator sees: notices, the programs' own lines, the table of addresses."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table

from . import VERSION

LOG_LIMIT = 20 * 1024 * 1024
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


class _Terminal(Console):
    """Goes quiet when its reader has gone (`make run | head`): what runs goes on running."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Screen:
    """Writes to standard output (plain when piped) and keeps each program's lines in a file."""

    def __init__(self, logs: Path, language: str = "zh", *, verbose: bool = False) -> None:
        self.console = _Terminal(highlight=False)
        self._logs, self._language, self._verbose = logs, language, verbose
        self._files: dict[str, TextIO] = {}
        self._began = time.monotonic()

    def say(self, zh: str, en: str) -> str:
        """The one of both that the operator reads."""
        return en if self._language == "en" else zh

    def notice(self, zh: str, en: str) -> None:
        """One line of our own, with the seconds since the start."""
        seconds = time.monotonic() - self._began
        self.console.print(f"[dim]{seconds:6.1f}s[/] {_plain(self.say(zh, en))}", soft_wrap=True)

    def line(self, name: str, text: str) -> None:
        """One line that a program printed: into its file, and here if it is worth it."""
        file = self._files.get(name)
        if file is None or file.tell() > LOG_LIMIT:
            file = self._open(name)
        file.write(text + "\n")
        file.flush()
        shown = _readable(text, self._verbose)
        if shown is not None:
            self.console.print(f"[cyan]{name:<10}[/] {_plain(shown)}", soft_wrap=True)

    def _open(self, name: str) -> TextIO:
        if name in self._files:
            self._files[name].close()
        path = self._logs / f"{name}.log"
        if path.exists() and path.stat().st_size > LOG_LIMIT:
            path.replace(path.with_suffix(".log.1"))
        self._files[name] = open(path, "a")  # noqa: SIM115  stays open while we run
        return self._files[name]

    def tail(self, name: str, lines: int = 15) -> str:
        """The last lines that a program printed."""
        path = self._logs / f"{name}.log"
        return "\n".join(path.read_text().splitlines()[-lines:]) if path.exists() else ""

    def table(self, run: dict[str, Any]) -> None:
        """The addresses and demo accounts, from what run.json holds."""
        gateway = run["gateway"]
        say = self.say
        table = Table(
            title=f"一网通办 · 一梁四柱  One Beam v{VERSION}", title_justify="left", expand=False
        )
        table.add_column(say("程序", "program"))
        table.add_column(say("地址", "address"), no_wrap=True)
        table.add_column(say("进程", "pid"), justify="right")
        pids = run["pids"]
        rows = [(say("总门户 gateway", "gateway"), gateway, "gateway")]
        rows += [(name, url, name) for name, url in run["services"].items()]
        if run["sandbox"]:
            rows.append((say("沙箱 sandbox", "sandbox"), run["sandbox"], "sandbox"))
        rows.append(("NATS", run["nats"]["url"], "nats"))
        rows.append(("PostgreSQL", run["postgres_address"], "postgres"))
        for label, address, name in rows:
            table.add_row(label, address, str(pids.get(name, pids.get("all", "—"))))
        self.console.print(table)
        for account in run["accounts"]:
            self.console.print(
                f" {_plain(account['role'])}: [bold]{_plain(account['login'])}[/]  "
                + _plain(account["password"]),
                soft_wrap=True,
            )
        self.console.print(
            say(
                "下一步:make demo(走完一件真事) · make test · Ctrl-C 停止",
                "Next: make demo (one real matter from end to end) · make test · Ctrl-C stops",
            ),
            soft_wrap=True,
        )

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()


def failure(zh: str, en: str, language: str) -> None:
    """The sentence of a Trouble, on standard error: the reader's language first."""
    first, second = (en, zh) if language == "en" else (zh, en)
    print(f"✗ {first}\n  {second}", file=sys.stderr)


def _plain(text: str) -> str:
    """Text of others holds no markup of ours."""
    return text.replace("[", r"\[")


def _readable(text: str, verbose: bool) -> str | None:
    """A JSON log line as people read it; None when it is not worth the screen."""
    try:
        entry = json.loads(text)
        level = str(entry["level"])
        message = str(entry["message"])
    except (ValueError, KeyError, TypeError):
        return text
    if _LEVELS.get(level, 40) < (20 if verbose else 30):
        return None
    rest = {
        k: v
        for k, v in entry.items()
        if k not in ("time", "level", "service", "message", "trace_id")
    }
    return f"{level}: {message}" + (f" {json.dumps(rest, ensure_ascii=False)}" if rest else "")
