"""The page of a service's dead letters: what happened, where to look, and a button for each."""

from typing import Any
from urllib.parse import quote

from kit.views import View

from ..refusals import NAMES
from .layout import code, moment, page, switches, table

SAID = {
    "done": ("已重新处理,成功。", "It was handled again, and well."),
    "failed": (
        "重新处理仍然失败,什么都没有改变。原因见下表,先修好再试。",
        "It failed again; nothing was changed. The table says why: mend that first.",
    ),
    "gone": ("已经没有这条死信。", "That dead letter is not there any more."),
    "refused": ("服务没有接受。请刷新后重试。", "The service refused. Refresh and try again."),
    "away": (
        "服务没有及时回答,可能仍在处理。请过一分钟刷新:表中没有它,就是成功了。",
        "The service did not answer in time and may still be at it. Refresh in a minute: when it "
        "is not listed any more, it went well.",
    ),
}


def render(service: str, said: dict[str, Any] | None, did: str, view: View) -> str:
    """`said` is what `GET /v1/ops/<service>/dead-letters` answers, None when it does not; `did`
    names how the last press of a button went."""
    t = view.t
    name = t(*NAMES[service])
    told = f'<p role="status"><strong>{t(*SAID[did])}</strong></p>' if did in SAID else ""
    if said is None:
        body = f"<p>{t('服务没有回答,请稍后刷新。', 'The service gives no answer. Try again.')}</p>"
    elif not said["items"]:
        body = f"<p>{t('没有死信。', 'There are no dead letters.')}</p>"
    else:
        body = _listed(service, said, view)
    back = t("运行状态", "How the platform does")
    return page(
        t(f"死信:{name}", f"Dead letters: {name}"),
        f'{told}{body}<p><a href="/ops">{back}</a></p>',
        view,
        switches(view, f"/ops/dead-letters/{service}", language=True),
    )


def _listed(service: str, said: dict[str, Any], view: View) -> str:
    t = view.t
    rows = [
        (
            f"{code(one['event_type'] or '?')} → {code(one['consumer'])}"
            f'<form method="post" action="/ops/dead-letters/{service}/{quote(one["id"])}/replay">'
            f"<button>{t('重新处理', 'Handle again')}</button></form>",
            f"{code(one['error'])}<br>{t('试过', 'tried')} {int(one['deliveries'])} "
            f"{t('次,最后', 'times, at last')} {moment(one['died_at'])}",
            code(one["correlation_id"] or "–"),
        )
        for one in said["items"]
    ]
    steps = t(
        "先修好原因(通常是换上修正过的版本),再逐条重新处理;顺序不对或重复都不会出错。"
        "用请求编号可在各服务的日志里找到经过。",
        "Mend the cause first (usually by a version with a fix), then handle each again; a wrong "
        "order or a repeat does no harm. The request id finds the story in every service's log.",
    )
    more = t("只列出最近的,处理后刷新。", "These are the newest; refresh after they are done.")
    heads = (
        t("事件 → 处理程序", "Event → handler"),
        t("原因", "Why"),
        t("请求编号", "Request id"),
    )
    tail = f"<p>{more}</p>" if said.get("next") else ""
    return f"<p>{steps}</p>{table(t('死信', 'Dead letters'), heads, rows)}{tail}"
