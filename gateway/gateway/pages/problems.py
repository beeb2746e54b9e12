"""What a person sees who opened an address in a browser that is not there, or not for him."""

from html import escape

from starlette.requests import Request
from starlette.responses import Response

from kit import context
from kit.errors import Problem
from kit.views import View

from . import layout

_FOR_PROGRAMS = ("/v1/", "/health/", "/internal/", "/metrics", "/.well-known/")
"""Whoever asks there reads problem+json, whatever he accepts."""


def shown(request: Request, problem: Problem) -> Response | None:
    """The problem as a page, to a browser that opens a page; None: problem+json as always."""
    path = request.url.path
    wants_page = "text/html" in request.headers.get("accept", "")
    if not wants_page or path.startswith(_FOR_PROGRAMS):
        return None

    def write(view: View) -> str:
        title, sentence = view.t(*problem.title), view.t(problem.zh, problem.en)
        if problem.status == 404:
            title = view.t("没有这个页面", "There is no such page")
            sentence = view.t(
                "地址可能抄错了一个字,或者页面已经不在了。您的办件不受影响。",
                "The address may be mistyped, or the page is gone. Nothing of yours is affected.",
            )
        home = view.t("回到首页", "To the start page")
        number = view.t("打电话时请告知编号:", "Tell this number when you call: ")
        return layout.page(
            title,
            f'<p>{escape(sentence)}</p><p><a href="/">{home}</a></p>'
            f"<p>{number}{layout.code(context.request_id.get() or '')}</p>",
            view,
            layout.switches(view, path, language=True),
        )

    answer = layout.answer(request, write)
    answer.status_code = problem.status
    answer.headers.update({**problem.headers, "cache-control": "no-store"})
    return answer
