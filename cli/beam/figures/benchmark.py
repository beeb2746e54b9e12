"""What the benchmark's reports say of the figures: absolute ones, beside its ratios."""

from collections.abc import Mapping
from typing import Any

from ..reports import Reports
from .figure import ROOT, Taken, judged, not_run


def _lines(told: Reports, group: str) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """(report, line by id) of a group: its own report, or a whole one that was given."""
    for name in (f"bench-{group}", "bench"):
        found = told.last(name)
        lines = {line["id"]: line for line in (found or {}).get("targets", ())}
        if found is not None and lines:
            return found, lines
    return {}, {}


def _missing(group: str) -> Taken:
    there = (ROOT / "bench").exists()
    return not_run(f"python -m bench {group}" if there else "the benchmark is not installed")


def _rate(group: str, line: str, rate: float, p99_ms: float, more: str = "") -> Any:
    def read(told: Reports) -> Taken:
        report, lines = _lines(told, group)
        if line not in lines or "ours" not in lines[line]["more"]:
            return _missing(group)
        ours = lines[line]["more"]["ours"]
        text = f"{ours['rps']:.0f}/s, p99 {ours['p99_ms']:.0f} ms, {ours['cpu_us']:.0f} µs of CPU"
        good = ours["rps"] >= rate and ours["p99_ms"] <= p99_ms
        why = f"load {report['load_average']:.1f} on {report['cores']} cores; one of them is ours"
        return judged(text, good, report, part=more, why="" if good else why)

    return read


durable_write = _rate("writes", "create-pgbench", 600, 250)
protected_read = _rate("reads", "read-constant", 2000, 100)


def event_delay(told: Reports) -> Taken:
    report, lines = _lines(told, "events")
    if "event-p99" not in lines or "event-outage" not in lines:
        return _missing("events")
    p99, outage = lines["event-p99"]["more"]["ms"], lines["event-outage"]["more"]
    text = f"p99 {p99:.1f} ms; drained {outage['drained']:.1f} s after {outage['away']:.0f} s away"
    part = "" if outage["away"] >= 60 else f"NATS away for {outage['away']:.0f} s of 60"
    return judged(text, p99 <= 200 and outage["drained"] <= 30, report, part=part)


def surge(told: Reports) -> Taken:
    report, lines = _lines(told, "surge")
    wanted = ("surge-admitted", "surge-refused", "surge-lost", "surge-after")
    if any(id_ not in lines for id_ in wanted):
        return _missing("surge")
    admitted, refused, lost, after = (lines[id_]["ratio"] for id_ in wanted)
    text = f"let in p99 {admitted:.2f} s, turned away p99 {refused * 1000:.0f} ms, {lost:.0f} lost"
    seconds = lines["surge-admitted"]["more"]["seconds"]
    part = "" if seconds >= 60 else f"{seconds:.0f} s of 60"
    good = all(lines[id_]["ok"] for id_ in wanted)
    return judged(f"{text}, usual after {after:.1f} s", good, report, part=part)


def scale_out(told: Reports) -> Taken:
    report, lines = _lines(told, "scale")
    if "scale-two" not in lines:
        skipped = "; ".join(report.get("skipped", ())) if report else ""
        found = told.last("bench-scale")
        skipped = skipped or "; ".join((found or {}).get("skipped", ()))
        return not_run(skipped) if skipped else _missing("scale")
    ratio = lines["scale-two"]["ratio"]
    return judged(f"two processes do {ratio:.2f} of one", ratio >= 1.6, report)


def appends(told: Reports) -> Taken:
    report, lines = _lines(told, "story")
    if "audit-appends" not in lines or "story-appends" not in lines:
        return _missing("story")
    rate, told_of = (lines[f"{name}-appends"]["more"]["rate"] for name in ("audit", "story"))
    text = f"{rate:.0f} appends/s to the sealed trail, each its own commit"
    text += f" ({told_of:.0f}/s to stories of cases, with the case's row lock)"
    why = f"load {report['load_average']:.1f} on {report['cores']} cores"
    return judged(text, rate >= 2000, report, why=why)
