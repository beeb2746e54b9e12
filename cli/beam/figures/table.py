"""The 22 figures: what is wanted, how it is measured, how it is read."""

from collections.abc import Sequence

from . import benchmark, readings
from .figure import Figure, Probes
from .readings import first_of, passing

IDENTITY = [
    f"tests/identity/{name}.py"
    for name in (
        "test_relying_party",
        "test_code_flow",
        "test_par_and_dpop",
        "test_tokens_and_clients",
        "test_profiles_negative",
    )
]
FUZZ_BY = "python -m beam figures --only 18"
FUZZ_AWAY = "schemathesis is missing: make install"


def _crashes(run: Probes) -> None:
    if run.quick:
        run.faults("fire", "--seconds", "12", "--journeys", "6")
        return
    run.faults("points", times=20)
    run.faults("fire", "--seconds", "600", "--journeys", "60", times=5)


def _audit(run: Probes) -> None:
    run.tests("audit", "tests/kit/seals/test_seals.py", "tests/observe/test_sealed.py")
    run.bench("story")


FIGURES: Sequence[Figure] = (
    Figure(
        1,
        "丢失 / 重复扣款 / 账不平",
        "0 / 0 / 0 over >= 60 points x 20 and 2000 faults",
        readings.crash_suite,
        _crashes,
    ),
    Figure(
        2,
        "植入缺陷被发现",
        "100 % of >= 25",
        readings.planted_bugs,
        lambda run: run.planted(),
        quick=False,
    ),
    Figure(
        3,
        "PostgreSQL 与 NATS 断电",
        "0 lost effects, 20 cuts",
        readings.power_cuts,
        lambda run: run.faults("power", "--cuts", run.size(1, 20)),
    ),
    Figure(
        4,
        "NATS 存储丢失",
        "all effects within 60 s",
        readings.store_lost,
        lambda run: run.faults("store"),
    ),
    Figure(
        5,
        "SIGKILL 后恢复",
        "service 3 s / PG 5 s / NATS 5 s / all 15 s",
        readings.recovery,
        lambda run: run.faults("recovery", "--times", run.size(1, 5)),
    ),
    Figure(
        6,
        "依赖冻结被察觉",
        "<= 8 s, 503 within 2 s",
        readings.silences,
        lambda run: run.faults("silence"),
    ),
    Figure(
        7,
        "发件箱延迟",
        "p99 <= 200 ms; drained <= 30 s after 60 s without NATS at 200/s",
        benchmark.event_delay,
        lambda run: run.bench("events"),
    ),
    Figure(
        8,
        "可靠写入",
        ">= 600/s, p99 <= 250 ms",
        benchmark.durable_write,
        lambda run: run.bench("writes"),
    ),
    Figure(
        9,
        "亮证读取",
        ">= 2000/s, p99 <= 100 ms",
        benchmark.protected_read,
        lambda run: run.bench("reads"),
    ),
    Figure(
        10,
        "10 倍激增",
        "60 s: admitted p99 <= 1 s, rest 429/503 < 50 ms, usual <= 5 s after",
        benchmark.surge,
        lambda run: run.bench("surge"),
    ),
    Figure(
        11,
        "横向扩展",
        "linear within 20 % for 1 -> 2",
        benchmark.scale_out,
        lambda run: run.bench("scale"),
    ),
    Figure(
        12,
        "2 小时稳定运行",
        "0 errors, < 1 MB/h",
        readings.soaked,
        lambda run: run.faults("soak", "--seconds", run.size(60, 7200)),
    ),
    Figure(
        13,
        "对账 10 万行",
        "<= 30 s, 50 seeded found",
        readings.bill_compared,
        lambda run: run.faults("bill", "--lines", run.size(5_000, 100_000)),
    ),
    Figure(
        14,
        "渠道中断 10 分钟后的待定",
        "0 after 3 min, <= 1 query/90 s",
        readings.channel_away,
        lambda run: run.faults("channel", "--seconds", run.size(45, 600)),
    ),
    Figure(
        15,
        "OIDC",
        "openid-client, ports of Basic OP 38 and FAPI2 SP",
        passing("oidc"),
        lambda run: run.tests("oidc", *IDENTITY),
    ),
    Figure(
        16,
        "令牌样本",
        "100 % 401, 0 x 500",
        passing("tokens"),
        lambda run: run.tests("tokens", "tests/kit/test_tokens.py", "tests/kit/test_dpop.py"),
    ),
    Figure(
        17,
        "越权矩阵",
        "every route x role, 0 leaks",
        passing("rights"),
        lambda run: run.tests("rights", "tests/flows/test_rights.py"),
    ),
    Figure(
        18,
        "畸形输入",
        "schemathesis, 0 failures, >= 5000 cases",
        passing("fuzz", least_cases=5000, by=FUZZ_BY, away=FUZZ_AWAY),
        lambda run: run.tests(
            "fuzz", "tests/flows/test_fuzz.py", long=True, BEAM_FUZZ_SECONDS="120"
        ),
        quick=False,
    ),
    Figure(
        19,
        "变异得分",
        ">= 90 % of ledger, states, tokens, inbox, outbox, quick ways",
        readings.score,
        lambda run: run.mutants(),
        quick=False,
    ),
    Figure(
        20,
        "密钥轮换",
        "0 failed requests under load",
        passing("keys"),
        lambda run: run.tests("keys", "tests/identity/test_keys.py"),
    ),
    Figure(
        21,
        "审计被改、删、插、截",
        "each found <= 60 s; >= 2000 appends/s",
        first_of([passing("audit"), benchmark.appends]),
        _audit,
    ),
    Figure(
        22,
        "日志与事件中的个人信息",
        "0 occurrences",
        passing("privacy"),
        lambda run: run.tests("privacy", "tests/flows/test_privacy.py"),
    ),
)
