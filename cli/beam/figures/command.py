"""`beam figures`: run the probes, read the reports, print the table."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .. import reports
from ..reports import Reports
from .figure import Figure, Probes, Taken, not_run
from .table import FIGURES

MARKS = {"yes": "✓", "part": "◐", "no": "✗", "not run": "–"}
_QUICK = "quick"
"""Folder of what the quick probes left, so that they hide no report of a whole one."""


def run(
    *,
    quick: bool,
    read_only: bool,
    only: Sequence[int],
    bench_file: Path | None,
    json_file: Path | None,
) -> int:
    """1 when a figure was measured and does not hold."""
    console = Console(highlight=False)
    whole, small = reports.folder().absolute(), reports.folder().absolute() / _QUICK
    if bench_file is not None:
        reports.keep("bench", json.loads(bench_file.read_text()), whole)
    probes = Probes(small if quick else whole, quick, lambda line: console.print(line, style="dim"))
    rows: list[dict[str, Any]] = []
    for figure in FIGURES:
        if only and figure.number not in only:
            continue
        if not read_only and figure.probe is not None and (figure.quick or not quick):
            figure.probe(probes)
        row = _row(figure, _best(figure, Reports(whole), Reports(small) if quick else None))
        rows.append(row)
        console.print(f"{MARKS[row['holds']]} {figure.number} {figure.name}: {_said(row)}")
    console.print(_table(rows))
    counts = {holds: sum(row["holds"] == holds for row in rows) for holds in MARKS}
    console.print_json(json.dumps(counts))
    if json_file is not None:
        document = {"counts": counts, **reports.circumstances(), "figures": rows}
        json_file.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n")
    return 1 if counts["no"] else 0


def _best(figure: Figure, whole: Reports, small: Reports | None) -> Taken:
    """Of a quick probe's report and the last whole one: the quick one is newer, so that what it
    refutes is refuted; what it shows only in part the whole one may show."""
    taken = _read(figure, whole)
    if small is None or not figure.quick:
        return taken
    new = _read(figure, small)
    return new if new.holds in ("yes", "no") or taken.holds == "not run" else taken


def _read(figure: Figure, told: Reports) -> Taken:
    try:
        return figure.read(told)
    except KeyError as lacking:
        return not_run(f"the report is of an older version, it does not say {lacking}")


def _row(figure: Figure, taken: Taken) -> dict[str, Any]:
    report: Mapping[str, Any] = taken.report
    return {
        "number": figure.number,
        "name": figure.name,
        "target": figure.target,
        "measured": taken.measured,
        "holds": taken.holds,
        "why": taken.why,
        "at": report.get("at"),
        "code": report.get("code"),
        "load_average": report.get("load_average"),
    }


def _said(row: Mapping[str, Any]) -> str:
    return " — ".join(part for part in (row["measured"], row["why"]) if part)


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table("#", "figure", "wanted", "measured", "holds", "why, where, when")
    for row in rows:
        around = f"{row['code']}, {row['at']}" if row["at"] else ""
        why = "\n".join(part for part in (row["why"], around) if part)
        holds = f"{MARKS[row['holds']]} {row['holds']}"
        table.add_row(str(row["number"]), row["name"], row["target"], row["measured"], holds, why)
    return table
