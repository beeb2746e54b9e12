"""`beam figures`: the 22 figures of reliability in one table, each with where it comes from.

A figure is read from the last reports in `.data/reports` (written by `beam faults` and by the
benchmark with `--json .data/reports/bench.json`) or taken by running its tests. What nobody has
measured here says so; nothing is assumed.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from . import reports

ROOT = Path(__file__).resolve().parents[2]
TEST_SECONDS = 240


@dataclass(frozen=True)
class Taken:
    """`ok` None: not measured here, `measured` says why and how to."""

    measured: str
    ok: bool | None


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    number: int
    name: str
    target: str
    take: Callable[[], Taken]


def not_here(why: str) -> Taken:
    return Taken(f"not measured here: {why}", None)


# ---- from the fault suite


def _sum(name: str, key: str) -> int:
    return sum(int(line.get(key) or 0) for line in reports.history(f"faults-{name}"))


def crash_suite() -> Taken:
    """Over all runs that the reports know of."""
    parts = ("fire", "store", "points", "network", "disk", "power", "clock")
    lines = [line for part in parts for line in reports.history(f"faults-{part}")]
    if not lines:
        return not_here("python -m beam faults")
    wrong = sum(line["violations"] for line in lines)
    faults = sum(line["faults"] for line in lines)
    swept = reports.last("faults-points")
    points = len(swept["points"]["fired"]) if swept else 0
    deaths = _sum("points", "points")
    text = f"{wrong} violations; {points} points, {deaths} deaths at them, {faults} faults"
    return Taken(text, wrong == 0 and points >= 60 and deaths >= 1200 and faults >= 2000)


def planted_bugs() -> Taken:
    found = reports.last("faults-planted")
    if found is None:
        return not_here("python -m beam faults --planted")
    text = f"{found['caught']} of {found['planted']}, {len(found['control_failed'])} bad controls"
    good = found["caught"] == found["planted"] >= 25 and not found["control_failed"]
    return Taken(text, good)


def power_cuts() -> Taken:
    lines = reports.history("faults-power")
    if not lines:
        return not_here("python -m beam faults --only power --cuts 20 (root, loop devices)")
    cuts, wrong = _sum("power", "cuts"), _sum("power", "violations")
    return Taken(
        f"{wrong} lost, {cuts} cuts, fsync on and sync_interval always", not wrong and cuts >= 20
    )


def store_lost() -> Taken:
    found = reports.last("faults-store")
    if found is None:
        return not_here("python -m beam faults --only store")
    return Taken(
        f"{len(found['violations'])} missing after {found['settled_after']} s",
        not found["violations"] and found["settled_after"] <= 60,
    )


def recovery() -> Taken:
    found = reports.last("faults-recovery")
    if found is None:
        return not_here("python -m beam faults --only recovery")
    limits = {"case": 3, "postgres": 5, "nats": 5, "everything": 15}
    seconds = found["recovered_after"]
    text = " / ".join(f"{name} {seconds[name]} s" for name in limits)
    return Taken(text, all(seconds[name] <= limit for name, limit in limits.items()))


def silences() -> Taken:
    found = reports.last("faults-network")
    if found is None:
        return not_here("python -m beam faults --only network")
    told = [
        f"{s['part']} {s['noticed']} s, 503 in {s['slowest_refusal']} s" for s in found["silences"]
    ]
    return Taken("; ".join(told), all(s["ok"] for s in found["silences"]))


# ---- from the benchmark


def bench(*ids: str, same: bool = True) -> Callable[[], Taken]:
    """Lines of the benchmark's report, by id. `same`: they measure what the target says; else they
    are only told, since the benchmark compares with a base instead of counting seconds."""

    def take() -> Taken:
        found = reports.last("bench")
        lines = {line["id"]: line for line in (found or {}).get("targets", [])}
        there = [lines[id_] for id_ in ids if id_ in lines]
        if not there:
            how = "make bench ARGS='--json .data/reports/bench.json'"
            return not_here(f"{', '.join(ids)} of {how}")
        text = "; ".join(f"{line['name']}: {line['ratio']} ({line['note']})" for line in there)
        if not same:
            return not_here(f"related: {text}")
        return Taken(text, len(there) == len(ids) and all(line["ok"] for line in there))

    return take


# ---- from tests


def passing(*arguments: str, more: str = "") -> Callable[[], Taken]:
    """All of these pass. `more`: what the target wants beyond them."""

    def take() -> Taken:
        if not (ROOT / "tests").exists():
            return not_here("the tests are not installed")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not long"]
        try:
            done = subprocess.run(
                [*command, *arguments],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=TEST_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return not_here(f"the tests took more than {TEST_SECONDS} s")
        said = done.stdout.strip().splitlines()
        last = said[-1] if said else ""
        counts = {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", last)}
        passed = counts.get("passed", 0)
        failed = counts.get("failed", 0) + counts.get("error", 0) + counts.get("errors", 0)
        text = f"{passed} tests pass, {failed} fail{'; ' + more if more else ''}"
        return Taken(text, done.returncode == 0 and passed > 0)

    return take


def never(why: str) -> Callable[[], Taken]:
    return lambda: not_here(why)


FIGURES: Sequence[Figure] = (
    Figure(
        1,
        "丢失 / 重复扣款 / 账不平",
        "0 / 0 / 0 over >= 60 points x 20 and 2000 faults",
        crash_suite,
    ),
    Figure(2, "植入缺陷被发现", "100 % of >= 25", planted_bugs),
    Figure(3, "PostgreSQL 与 NATS 断电", "0 lost effects, 20 cuts", power_cuts),
    Figure(4, "NATS 存储丢失", "all effects within 60 s", store_lost),
    Figure(5, "SIGKILL 后恢复", "service 3 s / PG 5 s / NATS 5 s / all 15 s", recovery),
    Figure(6, "依赖冻结被察觉", "<= 8 s, 503 within 2 s", silences),
    Figure(
        7,
        "发件箱延迟",
        "p99 <= 200 ms; drained <= 30 s",
        bench("event-p99", "events-rate", same=False),
    ),
    Figure(
        8,
        "可靠写入",
        ">= 600/s, p99 <= 250 ms",
        never("no absolute figure is taken yet; see make bench journeys"),
    ),
    Figure(9, "亮证读取", ">= 2000/s, p99 <= 100 ms", bench("read-constant", same=False)),
    Figure(
        10,
        "10 倍激增",
        "admitted p99 <= 1 s, rest 429/503 < 50 ms",
        bench("surge-admitted", "surge-refused", "surge-lost"),
    ),
    Figure(
        11,
        "横向扩展",
        "linear within 20 % for 1 -> 2",
        never("one process a service on two cores; needs more cores"),
    ),
    Figure(12, "2 小时稳定运行", "0 errors, < 1 MB/h", never("nobody has let it run for 2 h")),
    Figure(
        13,
        "对账 10 万行",
        "<= 30 s, 50 seeded found",
        never("no daily reconciliation in payment-svc yet"),
    ),
    Figure(
        14,
        "渠道中断 10 分钟后的待定",
        "0 after 3 min, <= 1 query/90 s",
        never("no run with the channel away for 10 min"),
    ),
    Figure(
        15,
        "OIDC",
        "openid-client, ports of Basic OP 38 and FAPI2 SP",
        passing(
            "tests/identity/test_relying_party.py",
            "tests/identity/test_code_flow.py",
            "tests/identity/test_par_and_dpop.py",
            "tests/identity/test_tokens_and_clients.py",
        ),
    ),
    Figure(
        16,
        "令牌样本",
        "100 % 401, 0 x 500",
        passing("tests/kit/test_tokens.py", "tests/kit/test_dpop.py"),
    ),
    Figure(17, "越权矩阵", "every route x role, 0 leaks", passing("tests/flows/test_rights.py")),
    Figure(
        18,
        "畸形输入",
        "schemathesis, 0 failures, >= 5000 cases",
        passing("tests/flows/test_bad_input.py", more="our own corpus, not schemathesis"),
    ),
    Figure(19, "变异得分", ">= 90 %", never("no mutation tool is among the dependencies")),
    Figure(
        20,
        "密钥轮换",
        "0 failed requests under load",
        passing("tests/identity/test_keys.py", more="rotation, not under load"),
    ),
    Figure(
        21,
        "审计被改、删、插、截",
        "each found <= 60 s; >= 2000 appends/s",
        passing(
            "tests/faults/test_checks.py",
            "-k",
            "story or trail or append",
            more="found by the checks; rate not measured",
        ),
    ),
    Figure(22, "日志与事件中的个人信息", "0 occurrences", passing("tests/flows/test_privacy.py")),
)


def run(*, quick: bool, only: Sequence[int], json_file: Path | None) -> int:
    """Print the table; 1 when a figure was measured and does not hold. Without `quick` the fault
    suite runs first; it takes the better part of an hour."""
    console = Console(highlight=False)
    if not quick:
        subprocess.run([sys.executable, "-m", "beam", "faults"], check=False)
        subprocess.run([sys.executable, "-m", "beam", "faults", "--planted"], check=False)
    rows: list[dict[str, Any]] = []
    for figure in FIGURES:
        if only and figure.number not in only:
            continue
        taken = figure.take()
        rows.append(
            {
                "number": figure.number,
                "name": figure.name,
                "target": figure.target,
                "measured": taken.measured,
                "ok": taken.ok,
            }
        )
        mark = {True: "✓", False: "✗", None: "–"}[taken.ok]
        console.print(f"{mark} {figure.number} {figure.name}: {taken.measured}", markup=False)
    table = Table("#", "figure", "target", "measured", "ok")
    for row in rows:
        mark = {True: "✓", False: "✗", None: "–"}[row["ok"]]
        table.add_row(str(row["number"]), row["name"], row["target"], row["measured"], mark)
    console.print(table)
    counts = {
        "held": sum(row["ok"] is True for row in rows),
        "missed": sum(row["ok"] is False for row in rows),
        "not_measured": sum(row["ok"] is None for row in rows),
    }
    console.print_json(json.dumps(counts))
    if json_file is not None:
        whole: dict[str, Any] = counts | {"figures": rows}
        json_file.write_text(json.dumps(whole, ensure_ascii=False, indent=1) + "\n")
    return 1 if counts["missed"] else 0
