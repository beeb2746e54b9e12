"""On `/ops`: the daily comparison of the channels' bills with our books."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from html import escape
from typing import Any

from kit.views import View

from .layout import code, moment, table

STATES = {
    "waiting": ("等账单", "waits for the bill"),
    "matched": ("相符", "agrees"),
    "differs": ("有差异", "differs"),
    "closed": ("已处理完", "closed"),
}
TYPES = {
    "amount_mismatch": ("金额或单号不符", "another amount or number"),
    "local_not_paid": ("渠道已收,我方未记", "paid there, not booked here"),
    "missing_local": ("我方没有的收款", "a payment that nobody here knows"),
    "missing_remote": ("账单没有的收款", "a payment that no bill has"),
    "refund_amount_mismatch": ("退款金额不符", "a refund of another amount"),
    "refund_local_not_done": ("渠道已退,我方未记", "refunded there, not booked here"),
    "refund_missing_local": ("我方没有的退款", "a refund that nobody here knows"),
    "refund_missing_remote": ("账单没有的退款", "a refund that no bill has"),
}
"""As payment-svc names them; a type that is new there is shown by its name."""
PROBLEMS = {
    "not_ready": ("账单尚未生成", "the bill is not written yet"),
    "no_answer": ("渠道没有回答", "the channel gives no answer"),
}
"""Why there is no bill; anything else is what is wrong with it."""


def red(found: Mapping[str, Any] | None, view: View) -> Iterator[tuple[str, str]]:
    """What somebody has to see to, and what to do; HTML."""
    t = view.t
    if found is None:
        return
    differences, days = found["differences_open"], found["days_unreconciled"]
    if differences["count"]:
        count, age = differences["count"], _days(differences["oldest_at"])
        yield (
            t(f"{count} 项对账差异未处理", f"{count} differences with bills of channels are open")
            + t(f",最早 {age} 天前", f", the oldest for {age} days"),
            f"{code('GET /v1/reconciliations?state=differs')} "
            + t(
                "逐项到商户平台核对;不能自动补齐的,写明原因后结清。",
                "and their differences: compare each at the channel; settle with a reason what "
                "does not mend itself.",
            ),
        )
    if days["count"]:
        yield (
            t(
                f"{days['count']} 天没有对完账,最早 {days['oldest_day']}",
                f"{days['count']} days are not reconciled, the oldest is {days['oldest_day']}",
            ),
            f"{code('GET /v1/reconciliations')} "
            + t(
                "的 problem 说明原因:账单未生成、渠道没有回答时会自动重试;账单不可信时不入账,"
                "请联系渠道。",
                "tells the problem: what is not written yet and who does not answer is asked "
                "again by itself; a bill that cannot be believed is not booked, talk to the "
                "channel.",
            ),
        )


def render(found: Mapping[str, Any] | None, view: View) -> str:
    """Tables of each channel's last day, and of what is open by type."""
    t = view.t
    if found is None:
        return f"<p>{t('缴费服务没有回答。', 'Payment gives no answer.')}</p>"
    if not found["last"]:
        return f"<p>{t('还没有可对账的日期。', 'There is no day to reconcile yet.')}</p>"
    return _last(found, view) + _open(found, view)


def _last(found: Mapping[str, Any], view: View) -> str:
    t = view.t
    rows = [
        (
            escape(one["channel"]),
            escape(one["day"]),
            _state(one, view),
            str(one["lines"]),
            moment(one["finished_at"]) if one["finished_at"] else "–",
        )
        for one in found["last"]
    ]
    heads = (
        t("渠道", "Channel"),
        t("日期", "Day"),
        t("状态", "State"),
        t("账单行数", "Lines of the bill"),
        t("完成时间", "Finished at"),
    )
    return table(t("最近一次对账", "Last reconciliation"), heads, rows)


def _open(found: Mapping[str, Any], view: View) -> str:
    t = view.t
    rows = [
        (escape(t(*TYPES.get(name, (name, name)))), str(one["count"]), str(_days(one["oldest_at"])))
        for name, one in found["differences_open"]["types"].items()
    ]
    heads = t("差异", "Difference"), t("项", "How many"), t("最早(天)", "Oldest (days)")
    return table(t("未处理的差异", "Open differences"), heads, rows) if rows else ""


def _state(one: Mapping[str, Any], view: View) -> str:
    said = escape(view.t(*STATES.get(one["state"], (one["state"],) * 2)))
    if one["problem"]:
        said += f": {_problem(one['problem'], view)}"
    return said


def _problem(problem: str, view: View) -> str:
    wrong = f"账单不可信({problem})", f"the bill cannot be believed ({problem})"
    return escape(view.t(*PROBLEMS.get(problem, wrong)))


def _days(moment: str) -> int:
    return max(0, (datetime.now(UTC) - datetime.fromisoformat(moment)).days)
