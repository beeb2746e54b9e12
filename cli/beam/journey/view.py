"""The journey on a screen: steps on the left, events on the right; plain lines when piped."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from .play import Report, Told, title_of
from .stage import Durable, limit
from .steps import Journey, Step

EVENTS_SHOWN = 14


class View:
    """Shows a journey while it runs. On a terminal it is live, elsewhere a line per step."""

    def __init__(self, console: Console, sequence: Sequence[Step], durables: list[Durable]) -> None:
        self._console, self._durables = console, durables
        self._titles = [(step.__name__, title_of(step)) for step in sequence]
        self._titles.append(("departments", "部门持久订阅与交换流收到全部事件,互不可见"))
        self._told: dict[str, Told] = {}
        self._facts: dict[str, Any] = {}
        self._now = ""
        self._live: Live | None = None

    def __enter__(self) -> "View":
        if self._console.is_terminal:
            self._live = Live(self, console=self._console, refresh_per_second=8)
            self._live.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        if self._live is not None:
            self._live.__exit__(*exc)

    def watch(self, journey: Journey, name: str, title: str, told: Told | None) -> None:
        self._facts = journey.facts
        self._now = name if told is None else ""
        if told is None:
            return
        self._told[name] = told
        if self._live is None:
            mark = "✓" if told.ok else "✗"
            self._console.print(
                f"{mark} {title} ({told.seconds:.1f}s) {told.result}", soft_wrap=True
            )

    def __rich__(self) -> Group:
        page = Table.grid(expand=True, padding=(0, 1))
        page.add_column(ratio=3)
        page.add_column(ratio=2)
        page.add_row(self._steps(), self._events())
        return Group(page, self._clock())

    def _clock(self) -> Panel:
        clock = self._facts.get("clock")
        if clock is None:
            return Panel("受理后开始计时", title="时钟")
        state = {"running": "计时中", "paused": "暂停", "stopped": "已停止"}[clock["state"]]
        until = f",至 {clock['promised_due']}" if clock["promised_due"] else ""
        line = (
            f"承诺 {limit(clock, 'promised')}{until}"
            f" · 法定 {limit(clock, 'statutory')} · 已用 {clock['used_days']} 天 · {state}"
        )
        return Panel(line, title="时钟")

    def _steps(self) -> Panel:
        lines = []
        for name, title in self._titles:
            told = self._told.get(name)
            if told is None:
                mark, style = ("…", "bold") if name == self._now else ("·", "dim")
                lines.append(Text(f"{mark} {title}", style=style))
                continue
            mark, style = ("✓", "green") if told.ok else ("✗", "red")
            lines.append(Text(f"{mark} {title}  {told.seconds:.1f}s", style=style))
            lines.append(Text(f"    {told.result}", style="dim" if told.ok else "red"))
        return Panel(Group(*lines), title="开办餐饮店 · 食品经营许可")

    def _events(self) -> Panel:
        events = sorted(
            (event for durable in self._durables for event in durable.events),
            key=lambda event: str(event["time"]),
        )
        lines = [
            Text(f"{event['dept']:<5}{event['type'].removeprefix('cn.beam.')}")
            for event in events[-EVENTS_SHOWN:]
        ]
        return Panel(Group(*lines), title="部门收到的事件")

    def close(self, report: Report, gateway: str) -> None:
        """The last lines: where to look further."""
        verdict = "全部通过" if report.ok else "没有走完"
        self._console.print(f"{verdict},共 {len(report.steps)} 步,{report.seconds:.1f} 秒")
        if report.case_id:
            self._console.print(f"办件 {gateway}/v1/cases/{report.case_id}", soft_wrap=True)
            self._console.print(
                f"事件 {gateway}/v1/events?subject={report.case_id}", soft_wrap=True
            )
