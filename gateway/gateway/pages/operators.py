"""`/ops`: how the platform does, for the person on call: each red line says what to do."""

from html import escape
from typing import Any

from kit.views import View

from . import reconciliation, red_lines
from .layout import code, moment, page, switches, table
from .red_lines import name

SIGN_OUT = "/ops/sign-out"
SIGN_OUT_TEXT = ("退出登录", "Sign out")


def render(said: dict[str, Any], view: View) -> str:
    """`said` is what `GET /v1/ops` answers."""
    t = view.t
    lines = list(red_lines.found(said, view))
    summary = t(f"需要处理:{len(lines)} 项", f"{len(lines)} things to see to")
    good = f"<p><strong>{t('一切正常,无需处理。', 'All is well; nothing to do.')}</strong></p>"
    red = table(
        summary,
        (t("问题", "What is wrong"), t("怎么办", "What to do")),
        [(f"<strong>{line.what}</strong>", line.do) for line in lines],
    )
    body = (
        f"<p>{t('北京时间', 'China time')} {moment(said['at'])}"
        f"{t('(日志中是 UTC)', ' (logs are in UTC)')} · "
        f'<a href="/ops">{t("刷新", "Refresh")}</a> · '
        f'<a href="{SIGN_OUT}">{t(*SIGN_OUT_TEXT)}</a></p>'
        f"{red if lines else good}"
        f"<h2>{t('服务', 'Services')}</h2>{_services(said, view)}"
        f"<h2>{t('电子监察', 'Supervision')}</h2>{_supervision(said, view)}"
        f"<h2>{t('资金', 'Money')}</h2>{_money(said, view)}"
        f"<h2>{t('对账', 'Reconciliation')}</h2>"
        f"{reconciliation.render(said['reconciliation'], view)}"
        f"<h2>{t('封存的记录', 'Sealed records')}</h2>{_sealed(said, view)}"
        f"<h2>{t('备份', 'Backups')}</h2><p>{_backup(said, view)}</p>"
        f"<p>{t('数据与', 'The data and ')}{code('GET /v1/ops')}"
        f"{t(' 相同;说明见 docs/operations.md。', ' are the same; see docs/operations.md.')}</p>"
    )
    title = t("运行状态", "How the platform does")
    return page(title, body, view, switches(view, "/ops", language=True))


def _services(said: dict[str, Any], view: View) -> str:
    t = view.t
    rows = []
    for service, state in said["services"].items():
        bus = state["bus"]
        jobs = [job["name"] for job in state.get("jobs", []) if job["failures"]]
        waiting = sum(one.get("pending") or 0 for one in state.get("consumers", []))
        rows.append(
            (
                name(service, view),
                t("就绪", "ready") if state["ready"] else t("未就绪", "not ready"),
                escape(str(state.get("versions", {}).get("beam"))),
                f"{bus['unsent']} / {waiting}",
                str(bus["dead_letters"]),
                escape(", ".join(jobs)) or "–",
            )
        )
    heads = (
        t("服务", "Service"),
        t("状态", "State"),
        t("版本", "Version"),
        t("事件:待发 / 待收", "Events to send / to take"),
        t("死信", "Dead letters"),
        t("失败的任务", "Failing jobs"),
    )
    return table(t("各服务", "Each service"), heads, rows)


def _supervision(said: dict[str, Any], view: View) -> str:
    t = view.t
    board = said["services"].get("case", {}).get("boards", {}).get("supervision", {})
    if "departments" not in board:
        return f"<p>{t('办件服务没有回答。', 'Case handling gives no answer.')}</p>"
    if not board["departments"]:
        return f"<p>{t('没有在办的审批。', 'No task is open.')}</p>"
    names = ("open", "overdue", "in_danger", "stalled")
    rows = [
        (escape(one["dept"]), *(str(one[name]) for name in names), escape(one["earliest_due"]))
        for one in board["departments"]
    ]
    heads = (
        t("部门", "Department"),
        t("在办", "Open"),
        t("超期", "Overdue"),
        t("两日内到期", "Due within two days"),
        t("三日无人认领", "Unclaimed for three days"),
        t("最早到期", "Earliest due"),
    )
    return table(t("各部门的审批", "Tasks of departments"), heads, rows)


def _money(said: dict[str, Any], view: View) -> str:
    t = view.t
    state = said["services"].get("payment", {})
    ledger = state.get("checks", {}).get("ledger", {})
    board = state.get("boards", {}).get("money", {})
    if "total_fen" not in ledger or "attempts_unknown" not in board:
        return f"<p>{t('缴费服务没有回答。', 'Payment gives no answer.')}</p>"
    rows = [
        (t("账目合计(应为 0)", "Sum of the books (must be 0)"), f"{ledger['total_fen']} fen"),
        (t("待退的款(暂记)", "Money that goes back"), f"{abs(ledger['suspense_fen'])} fen"),
        (t("被拒的退款", "Refused refunds"), str(board["refunds_refused"]["count"])),
        (t("结果不明的支付", "Attempts without a known end"),
         str(board["attempts_unknown"]["count"])),
    ]  # fmt: skip
    return table(t("资金", "Money"), (t("项目", "What"), t("数", "How much")), rows)


def _sealed(said: dict[str, Any], view: View) -> str:
    t = view.t
    states = {
        "whole": t("完好", "whole"),
        "restored": t("来自备份", "from a backup"),
        "broken": t("对不上", "does not fit"),
        "unknown": t("尚未检查", "not looked at yet"),
    }
    rows = []
    for service, state in said["services"].items():
        audit = state.get("checks", {}).get("audit")
        if audit is None or "state" not in audit:
            continue
        kept = audit["anchored"]
        anchored = t("未设置", "not set") if kept is None else str(kept)
        rows.append(
            (
                name(service, view),
                states[audit["state"]],
                str(audit["blocks"]),
                anchored,
                moment(audit["sealed_at"]) if audit["sealed_at"] else "–",
            )
        )
    heads = (
        t("服务", "Service"),
        t("状态", "State"),
        t("块", "Blocks"),
        t("库外留存", "Anchored"),
        t("最近封存", "Last sealed"),
    )
    return table(t("封存链", "Chains"), heads, rows)


def _backup(said: dict[str, Any], view: View) -> str:
    if said["backup_at"] is None:
        return view.t("没有备份,或查不到。", "There is none, or it cannot be told.")
    return view.t("最近一次", "The last one") + " " + moment(said["backup_at"])
