"""What the reports of fault suite and tests say of the figures."""

from collections.abc import Callable, Sequence
from typing import Any

from ..reports import Reports
from .figure import ROOT, Taken, judged, not_run

Read = Callable[[Reports], Taken]
BREAKING = ("fire", "store", "points", "network", "silence", "disk", "power", "clock", "channel")


def crash_suite(told: Reports) -> Taken:
    """Over the runs since the last violation: what came before it is of code that was mended."""
    lines = told.history(*(f"faults-{part}" for part in BREAKING))
    if not lines:
        return not_run("python -m beam faults")
    clean = lines[:]
    for number, line in enumerate(lines):
        if line["violations"]:
            clean = lines[number + 1 :]
    faults = sum(line["faults"] for line in clean)
    deaths = sum(line.get("points", 0) for line in clean)
    swept = told.last("faults-points")
    points = len(swept["points"]["fired"]) if swept else 0
    codes = list(dict.fromkeys(line.get("code", "?") for line in clean))
    text = f"0 violations in {len(clean)} runs: {faults} faults, {deaths} deaths at {points} points"
    if not clean:
        last = lines[-1]
        return judged(f"{last['violations']} violations in {last['name']}", False, last)
    lacking = [
        f"{what} {have} of {wanted}"
        for what, have, wanted in (
            ("points", points, 60),
            ("deaths at points", deaths, 1200),
            ("faults", faults, 2000),
        )
        if have < wanted
    ]
    dirty = f"; {len(lines) - len(clean)} runs before had violations or came before one"
    text += f" ({', '.join(codes)})" + (dirty if len(clean) < len(lines) else "")
    return judged(text, True, clean[-1], part=", ".join(lacking))


def planted_bugs(told: Reports) -> Taken:
    found = told.last("faults-planted")
    if found is None:
        return not_run("python -m beam faults --planted")
    good = not found["missed"] and not found["control_failed"]
    part = "" if found["planted"] >= 25 else f"{found['planted']} of 25 or more"
    why = f"missed {found['missed']}, controls {list(found['control_failed'])}"
    text = f"{found['caught']} of {found['planted']} caught, {found['controls']} controls"
    return judged(text, good, found, part=part, why="" if good else why)


def power_cuts(told: Reports) -> Taken:
    lines = told.history("faults-power")
    if not lines:
        return not_run("python -m beam faults --only power --cuts 20 (root, loop devices)")
    last = lines[-1]
    clean = [line for line in lines if line.get("code") == last.get("code")]
    cuts, wrong = sum(line["cuts"] for line in clean), sum(line["violations"] for line in clean)
    part = "" if cuts >= 20 else f"{cuts} cuts of 20"
    text = f"{wrong} violations in {cuts} cuts of both, fsync on and sync_interval always"
    return judged(text, not wrong, last, part=part)


def store_lost(told: Reports) -> Taken:
    found = told.last("faults-store")
    if found is None:
        return not_run("python -m beam faults --only store")
    text = f"{len(found['violations'])} violations, all settled after {found['settled_after']} s"
    return judged(text, not found["violations"] and found["settled_after"] <= 60, found)


def recovery(told: Reports) -> Taken:
    found = told.last("faults-recovery")
    if found is None:
        return not_run("python -m beam faults --only recovery")
    limits = {"case": 3, "postgres": 5, "nats": 5, "everything": 15}
    seconds, times = found["recovered_after"], len(found["recoveries"]["everything"])
    text = " / ".join(f"{name} {seconds[name]} s" for name in limits)
    good = all(seconds[name] <= limit for name, limit in limits.items())
    text += f", medians of {times}; {found['cpu_seconds']} s of CPU for everything"
    return judged(text, good, found, why=_busy(found))


def _busy(found: Any) -> str:
    load, cores = found["load_average"], found["cores"]
    return f"measured at a load of {load} on {cores} cores" if load > 2 * cores else ""


def silences(told: Reports) -> Taken:
    found = told.last("faults-silence")
    if found is None:
        return not_run("python -m beam faults --only silence")
    text = "; ".join(
        f"{s['part']} {s['noticed']} s, then refused in {s['slowest_refusal']} s"
        for s in found["silences"]
    )
    return judged(text, all(s["ok"] for s in found["silences"]), found, why=_busy(found))


def channel_away(told: Reports) -> Taken:
    found = told.last("faults-channel")
    if found is None:
        return not_run("python -m beam faults --only channel")
    after, away = found["settled_after"], found["away_seconds"]
    text = (
        f"{found['waited_for_channel']} payments waited {away} s, none pending {after} s after; "
        f"at most {found['most_queries']} queries for one, {found['asked_too_often']} too many"
    )
    good = after is not None and after <= 180 and not found["asked_too_often"]
    good = good and not found["violations"]
    part = f"away for {away} s of 600" if away < 600 else ""
    if not found["waited_for_channel"]:
        part = "no payment was waiting"
    return judged(text, good, found, part=part)


def bill_compared(told: Reports) -> Taken:
    found = told.last("faults-bill")
    if found is None:
        return not_run("python -m beam faults --only bill")
    wrong, changed = len(found["invented"]), found["changed_by_repeating"]
    text = (
        f"{found['lines']} lines in {found['compared_after']} s, "
        f"{found['found']} of {found['planted']} differences found under their type, "
        f"{wrong} more; again {found['repeated_after']} s, {len(changed)} changes"
    )
    good = found["compared_after"] <= 30 and not wrong and not changed
    good = good and found["found"] == found["planted"] >= 50
    part = f"{found['lines']} lines of 100000" if found["lines"] < 99_000 else ""
    return judged(text, good, found, part=part, why=_busy(found))


def soaked(told: Reports) -> Taken:
    found = told.last("faults-soak")
    if found is None:
        return not_run("python -m beam faults --only soak (2 hours)")
    seconds, growth = found["soaked_seconds"], found["growth_mb_per_hour"]
    worst = max(growth, key=growth.__getitem__)
    errors = found["server_errors"] + len(found["violations"]) + len(found["died"])
    text = f"{errors} errors in {seconds / 60:.0f} min; most growth {growth[worst]} MB/h ({worst})"
    if seconds < 7200:
        # A short run says nothing of the slope: caches still fill.
        return judged(text, not errors, found, part=f"{seconds / 60:.0f} min of 120")
    return judged(text, not errors and growth[worst] < 1, found)


def passing(
    name: str, *, part: str = "", least_cases: int = 0, by: str = "beam figures", away: str = ""
) -> Callable[[Reports], Taken]:
    """All tests kept as `tests-NAME` pass. `part` says what the target asks for beyond them, `by`
    how to run them, `away` how to get what they need when they are skipped."""

    def read(told: Reports) -> Taken:
        found = told.last(f"tests-{name}")
        if found is None:
            return not_run(by if (ROOT / "tests").exists() else "the tests are not installed")
        if not found["passed"] and not found["failed"]:
            return not_run(away or f"{found['skipped']} tests skipped")
        text = f"{found['passed']} tests pass, {found['failed']} fail"
        if least_cases:
            text += f"; {found['cases']} cases"
        few = f"{found['cases']} of {least_cases} cases" if found["cases"] < least_cases else ""
        good = not found["failed"] and found["exit_code"] == 0
        failures = ", ".join(found["failures"][:3])
        return judged(text, good, found, part=part or few, why=failures)

    return read


def score(told: Reports) -> Taken:
    found = told.last("mutants")
    if found is None:
        return not_run("python -m tests.mutants")
    reached = found["killed"] / max(found["mutants"], 1)
    text = f"{found['killed']} of {found['mutants']} mutants killed ({reached:.0%})"
    part = "" if found["mutants"] >= 100 else f"a sample of {found['mutants']}"
    alive = "; ".join(found["survived"][:3])
    return judged(text, reached >= 0.9, found, part=part, why=f"alive: {alive}")


def first_of(reads: Sequence[Read]) -> Read:
    """Several readings as one: all must hold; the worst is told first."""

    def read(told: Reports) -> Taken:
        taken = [one(told) for one in reads]
        order = ("no", "not run", "part", "yes")
        worst = min(taken, key=lambda one: order.index(one.holds))
        holds = worst.holds
        if holds == "not run" and any(one.holds != "not run" for one in taken):
            holds = "part"
        return Taken(
            holds,
            "; ".join(one.measured for one in taken if one.measured),
            "; ".join(one.why for one in taken if one.why),
            worst.report or taken[0].report,
        )

    return read
