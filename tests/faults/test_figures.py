"""What the reports say is what the table says: neither more nor less."""

from pathlib import Path
from typing import Any

import pytest

from beam import reports
from beam.faults import plants
from beam.faults.soak import MEGABYTE, POINTS, course, slope
from beam.figures import readings
from beam.figures.command import run
from beam.figures.figure import Holds
from beam.figures.table import FIGURES
from beam.reports import Reports


def test_there_are_22_figures_and_each_says_how_it_is_measured(tmp_path: Path) -> None:
    assert [figure.number for figure in FIGURES] == list(range(1, 23))
    for figure in FIGURES:
        taken = figure.read(Reports(tmp_path))
        assert taken.holds == "not run"
        assert taken.why
        assert "missing" not in taken.why, "nobody has looked yet"


def test_a_table_without_reports_claims_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("BEAM_REPORTS", str(tmp_path / "none"))
    file = tmp_path / "figures.json"
    asked: dict[str, Any] = {"quick": False, "read_only": True, "only": (), "bench_file": None}
    assert run(**asked, json_file=file) == 0
    assert '"yes": 0' in file.read_text()


def test_a_report_of_an_older_version_is_no_result(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("BEAM_REPORTS", str(tmp_path))
    reports.keep("faults-recovery", {"recovered_after": {"case": 1}})
    file = tmp_path / "figures.json"
    asked: dict[str, Any] = {"quick": False, "read_only": True, "only": (5,), "bench_file": None}
    assert run(**asked, json_file=file) == 0
    assert "older version" in file.read_text()


def crashes(tmp_path: Path, *violations: int) -> tuple[Holds, str]:
    for count in violations:
        report = {"faults": 700, "violations": [{}] * count, "points": {"fired": ["p"] * 400}}
        reports.keep("faults-points", report, tmp_path)
    taken = readings.crash_suite(Reports(tmp_path))
    return taken.holds, taken.measured


def test_what_was_lost_once_counts_until_it_was_mended(tmp_path: Path) -> None:
    assert crashes(tmp_path, 0)[0] == "part"
    assert crashes(tmp_path, 2)[0] == "no"
    holds, measured = crashes(tmp_path, 0, 0, 0)
    assert holds == "yes"
    assert "2100 faults" in measured
    assert "2 runs before" in measured


@pytest.mark.parametrize(("cuts", "holds"), [(3, "part"), (20, "yes")])
def test_a_smaller_sample_holds_in_part(tmp_path: Path, cuts: int, holds: Holds) -> None:
    reports.keep("faults-power", {"cuts": cuts, "violations": []}, tmp_path)
    assert readings.power_cuts(Reports(tmp_path)).holds == holds


def test_bugs_may_be_planted_in_several_runs() -> None:
    def report(name: str, scene: str, caught: bool, *wrong: str) -> dict[str, Any]:
        return plants.summed({name: {"caught": caught, "scene": scene}}, {scene: wrong})

    both = plants.joined(report("no_inbox", "walk", True), report("no_dept", "walk", False))
    assert (both["planted"], both["missed"]) == (2, ["no_dept"])
    again = plants.joined(both, report("no_dept", "walk", True, "late"))
    assert (again["caught"], again["control_failed"]) == (2, {"walk": ("late",)})


def test_growth_is_told_per_hour() -> None:
    assert slope([(0, 10.0), (60, 10.5), (120, 11.0)]) == pytest.approx(30)
    assert slope([]) == 0


def test_the_course_of_memory_is_kept_thinned_out() -> None:
    taken = [(10.0 * n, (100 + n) * MEGABYTE, (80 + n) * MEGABYTE, 9) for n in range(721)]
    kept = course(taken)
    assert kept[0] == (0.0, 100.0, 80.0)
    assert kept[-1] == (120.0, 820.0, 800.0)
    assert POINTS / 2 < len(kept) <= POINTS + 1
    assert course(taken[:1]) == [(0.0, 100.0, 80.0)]
    assert course([]) == []
