"""The operators' page: each red line names what is wrong and what to do; who may see it."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from gateway.pages import dead_letters, operators
from kit.views import View

from .conftest import ISSUER, Door, Recorder, request, talk
from .test_pages import Outline

AT = "2026-11-22T10:00:00.000+00:00"


def state(**more: Any) -> dict[str, Any]:
    return {
        "ready": True,
        "reasons": [],
        "versions": {"beam": "0.1.0"},
        "bus": {"unsent": 0, "dead_letters": 0},
        "consumers": [],
        "jobs": [],
        "checks": {},
        "boards": {},
        **more,
    }


def reconciled(
    state: str = "", problem: str | None = None, types: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What `GET /v1/ops` says of the one channel; without a state there was no day yet."""
    day = {
        "channel": "wechat", "day": "2026-11-21", "state": state, "problem": problem,
        "lines": 12_345, "finished_at": None,
    }  # fmt: skip
    types = types or {}
    late = state in ("waiting", "differs")
    return {
        "last": [day] if state else [],
        "differences_open": {
            "count": sum(one["count"] for one in types.values()),
            "oldest_at": min((one["oldest_at"] for one in types.values()), default=None),
            "types": types,
        },
        "days_unreconciled": {"count": int(late), "oldest_day": day["day"] if late else None},
    }


def whole(**more: Any) -> dict[str, Any]:
    return {
        "at": AT,
        "unreachable": [],
        "not_ready": [],
        "dead_letters": {},
        "late_events": {},
        "failed_checks": [],
        "versions": {"0.1.0": ["case"]},
        "sealed_elsewhere": [],
        "overdue_tasks": 0,
        "refused_refunds": 0,
        "reconciliation": reconciled(),
        "event_copies": {"kept": 1, "wanted": 1},
        "certificate": {"ends_at": AT, "ends_soon": False},
        "disk_free_percent": 10,
        "backup_at": "2999-01-01T00:00:00+00:00",
        "services": {"case": state()},
        **more,
    }


def shown(**more: Any) -> str:
    page = operators.render(whole(**more), View())
    Outline(page)
    assert "<script" not in page
    return page


def test_when_all_is_well_there_is_nothing_to_do() -> None:
    assert "一切正常" in shown()
    assert "一切正常" in shown(event_copies=None, certificate=None, disk_free_percent=None)
    assert "All is well" in operators.render(whole(), View(english=True))


def test_every_red_line_says_what_to_do() -> None:
    page = shown(
        unreachable=["payment"],
        not_ready=["case"],
        dead_letters={"helpdesk": 2},
        late_events={"case": 7},
        versions={"0.1.0": ["case"], "0.2.0": ["licence"]},
        sealed_elsewhere=["licence"],
        overdue_tasks=3,
        refused_refunds=1,
        event_copies={"kept": 2, "wanted": 3},
        certificate={"ends_at": AT, "ends_soon": True},
        disk_free_percent=9,
        backup_at=None,
        services={"case": state(ready=False, reasons=["nats: not connected"])},
    )
    for what, do in (
        ("payment) 没有回答", "make roll SERVICE=payment"),
        ("nats: not connected", "事件不会丢"),
        ("有 2 条死信", 'href="/ops/dead-letters/helpdesk"'),
        ("有 7 个事件没有发出", "不要清空任何东西"),
        ("0.2.0: licence", "make upgrade"),
        ("与留在数据交换处的链头不符", "beam audit accept"),
        ("3 项审批已超期", "督办"),
        ("1 笔退款被渠道拒绝", "/v1/refunds?state=error"),
        ("事件只存在 2 个消息服务上,应为 3 个", "--replicas 3"),
        ("证书将于 2026-11-22 18:00:00 到期", "deploy/RUNBOOK.md"),
        ("磁盘只剩 9%", "DiskFilling"),
    ):
        assert what in page, what
        assert do in page, do


def test_reconciliation_shows_the_last_day_and_what_is_open() -> None:
    ancient, future = "2020-01-01T00:00:00+00:00", "2999-01-01T00:00:00+00:00"
    differs = reconciled(
        "differs",
        types={
            "missing_local": {"count": 2, "oldest_at": ancient},
            "quite_<b>new": {"count": 1, "oldest_at": future},
        },
    )
    page = shown(reconciliation=differs)
    for text in (
        "12345", "有差异", "我方没有的收款", "quite_&lt;b&gt;new", "3 项对账差异未处理",
        "state=differs", "结清",
    ):  # fmt: skip
        assert text in page, text
    english = operators.render(whole(reconciliation=differs), View(english=True))
    assert "3 differences with bills of channels are open" in english
    assert "一切正常" in shown(reconciliation=reconciled("matched"))
    assert "缴费服务没有回答" in shown(reconciliation=None)


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        ("not_ready", "账单尚未生成"),
        ("no_answer", "渠道没有回答"),
        ("wrong_hash", "账单不可信(wrong_hash)"),
    ],
)
def test_a_day_without_a_bill_says_why(problem: str, told: str) -> None:
    page = shown(reconciliation=reconciled("waiting", problem))
    assert "1 天没有对完账,最早 2026-11-21" in page
    assert told in page


def test_a_changed_record_is_named_with_what_to_do() -> None:
    row = {"service": "case", "kind": "edited", "block": 4, "table": "staff_action", "row": "act_1"}
    audit = {
        "ok": False, "state": "broken", "blocks": 9, "anchored": 9, "sealed_at": AT,
        "findings": [row],
    }  # fmt: skip
    page = shown(failed_checks=["case/audit"], services={"case": state(checks={"audit": audit})})
    assert "case 第 4 块 staff_action act_1:记录被改动" in page
    assert "不要修补" in page
    assert "对不上" in page


def test_a_chain_that_forked_is_named_with_its_block() -> None:
    heads = {"ok": False, "broken": ["case 4", "payment 9"], "heads": {}}
    page = shown(
        failed_checks=["exchange/audit_heads"],
        services={"exchange": state(checks={"audit_heads": heads})},
    )
    for line in ("(case) 第 4 块与此前告知", "(payment) 第 9 块与此前告知", "不要修补"):
        assert line in page, line


def test_a_backup_of_long_ago_is_a_red_line_and_text_of_services_is_escaped() -> None:
    board = {
        "departments": [
            {"dept": "<b>", "open": 1, "overdue": 0, "in_danger": 1, "stalled": 0,
             "earliest_due": "2026-11-23"}
        ]
    }  # fmt: skip
    page = shown(
        backup_at="2020-01-01T00:00:00+00:00",
        services={"case": state(boards={"supervision": board})},
    )
    assert "超过一天没有备份" in page
    assert "&lt;b&gt;" in page


async def test_who_is_not_signed_in_is_sent_to_sign_in(shared_door: Door) -> None:
    [answer] = await talk(shared_door.port, request(path="/ops"))
    assert answer.status == 303
    where = urlsplit(answer.header("location"))
    asked = parse_qs(where.query)
    assert where.path == "/oauth2/authorize"
    assert asked["client_id"] == ["operators-page"]
    assert asked["code_challenge_method"] == ["S256"]
    cookie = answer.header("set-cookie").lower()
    assert "httponly" in cookie
    assert "path=/ops" in cookie
    [again] = await talk(shared_door.port, request(path="/ops", Cookie="beam_ops=no.token.atall"))
    assert again.status == 303


async def test_a_code_that_nobody_asked_for_is_not_taken(shared_door: Door) -> None:
    for path, fields in (
        ("/ops/signed-in?code=c&state=s", {}),
        ("/ops/signed-in?code=c&state=", {"Cookie": "beam_ops_sign_in="}),
        ("/ops/signed-in?code=c&state=other", {"Cookie": "beam_ops_sign_in=mine.verifier"}),
        ("/ops/signed-in?error=access_denied&state=mine", {"Cookie": "beam_ops_sign_in=mine.v"}),
    ):
        [answer] = await talk(shared_door.port, request(path=path, **fields))
        assert answer.status == 400, path
        assert b"/ops" in answer.body
        assert "beam_ops=" not in (answer.header("set-cookie") or "")


async def test_people_who_are_no_operators_are_refused(shared_door: Door, keys: Any) -> None:
    for claims in ({}, {"kind": "staff", "roles": ["counter"], "dept": "SAMR"}):
        token = keys.token(**claims)
        [answer] = await talk(shared_door.port, request(path="/ops", Cookie=f"beam_ops={token}"))
        assert answer.status == 403
        assert "运维" in answer.body.decode()


async def test_whoever_signed_in_as_somebody_else_finds_the_way_out(
    shared_door: Door, keys: Any
) -> None:
    cookie = f"beam_ops={keys.token()}"
    [refused] = await talk(shared_door.port, request(path="/ops", Cookie=cookie))
    assert "/ops/sign-out" in Outline(refused.body.decode()).links
    [out] = await talk(shared_door.port, request(path="/ops/sign-out", Cookie=cookie))
    assert out.status == 303
    assert urlsplit(out.header("location")).path == "/oauth2/logout"
    assert 'beam_ops=""; ' in out.header("set-cookie")
    assert "max-age=0" in out.header("set-cookie").lower()
    assert "/ops/sign-out" in Outline(shown()).links


def test_moments_are_those_of_the_city() -> None:
    sealed = {"ok": True, "state": "whole", "blocks": 1, "anchored": 1, "sealed_at": AT}
    page = shown(backup_at=AT, services={"case": state(checks={"audit": sealed})})
    assert page.count("2026-11-22 18:00:00") == 3
    assert "+00:00" not in page


LETTER = {
    "id": "dead_1", "consumer": "case__open", "event_id": "e", "error": "KeyError <b>",
    "event_type": "cn.beam.payment.paid.v1", "correlation_id": "req-1", "deliveries": 8,
    "first_at": AT, "died_at": AT, "replayed_at": None,
}  # fmt: skip


def test_dead_letters_say_why_and_have_a_button() -> None:
    said = {"items": [LETTER], "next": None}
    page = dead_letters.render("case", said, "failed", View())
    Outline(page)
    for text in (
        "cn.beam.payment.paid.v1", "case__open", "KeyError &lt;b&gt;", "req-1", "仍然失败",
        'action="/ops/dead-letters/case/dead_1/replay"', "2026-11-22 18:00:00",
    ):  # fmt: skip
        assert text in page, text
    assert "There are no dead letters" in dead_letters.render(
        "case", {"items": [], "next": None}, "", View(english=True)
    )
    assert "没有回答" in dead_letters.render("case", None, "", View())
    assert "<script>" not in dead_letters.render("case", None, "<script>", View())


@pytest.mark.parametrize("origin", [{}, {"Origin": "null"}, {"Origin": "https://evil.example"}])
async def test_a_press_from_elsewhere_does_nothing(
    shared_door: Door, shared_recorder: Recorder, keys: Any, origin: dict[str, str]
) -> None:
    token = keys.token(kind="staff", roles=["operator"], dept="SAMR")
    before = len(shared_recorder.seen)
    raw = request(
        "POST", "/ops/dead-letters/case/dead_1/replay", Cookie=f"beam_ops={token}", **origin
    )
    [answer] = await talk(shared_door.port, raw)
    assert answer.status == 403
    assert len(shared_recorder.seen) == before


async def test_only_operators_see_and_replay_dead_letters(
    shared_door: Door, shared_recorder: Recorder, keys: Any
) -> None:
    before = len(shared_recorder.seen)
    for cookie, status in (("", 303), (f"beam_ops={keys.token()}", 403)):
        for method, path in (
            ("GET", "/ops/dead-letters/case"),
            ("POST", "/ops/dead-letters/case/dead_1/replay"),
        ):
            raw = request(method, path, Cookie=cookie, Origin=ISSUER)
            [answer] = await talk(shared_door.port, raw)
            assert answer.status == status, (method, cookie[:8])
    assert len(shared_recorder.seen) == before
    operator = keys.token(kind="staff", roles=["operator"], dept="SAMR")
    raw = request(path="/ops/dead-letters/nothing", Cookie=f"beam_ops={operator}")
    [answer] = await talk(shared_door.port, raw)
    assert answer.status == 404


async def test_a_press_asks_the_service_with_the_operators_own_token(
    shared_door: Door, shared_recorder: Recorder, keys: Any
) -> None:
    token = keys.token(kind="staff", roles=["operator"], dept="SAMR")
    raw = request(
        "POST",
        "/ops/dead-letters/catalog/dead_1/replay",
        Cookie=f"beam_ops={token}",
        Origin=ISSUER,
    )
    [answer] = await talk(shared_door.port, raw)
    assert answer.status == 303
    assert answer.header("location") == "/ops/dead-letters/catalog?did=done"
    asked = shared_recorder.seen[-1]
    assert (asked.method, asked.target) == ("POST", b"/v1/ops/catalog/dead-letters/dead_1/replay")
    assert asked.header("authorization") == [f"Bearer {token}"]
    away = raw.replace(b"/catalog/", b"/case/")
    [answer] = await talk(shared_door.port, away)
    assert answer.header("location") == "/ops/dead-letters/case?did=away"
