"""One error shape (RFC 9457) for every service: stable code, Chinese and English, no echo.

A domain module raises a `Problem`; the handlers here make the answer. `title` names the kind,
`detail` says what happened, why, and what to do, in the language that the client prefers.
"""

import errno
import logging
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.responses import Response

from . import context
from .problems import render, wants_english

log = logging.getLogger(__name__)
_UNREACHED = (ConnectionError, TimeoutError, socket.gaierror)
# (None: several addresses were tried, each in vain.)
_UNREACHABLE = {None, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN}


class Problem(Exception):
    """Base of every error that a client may see. Subclasses set status, code and title."""

    status: ClassVar[int] = 400
    code: ClassVar[str] = "bad_request"
    title: ClassVar[tuple[str, str]] = ("请求不合适", "The request does not fit")

    def __init__(
        self,
        zh: str,
        en: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[Mapping[str, str]] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(en)
        self.zh, self.en = zh, en
        self.headers = dict(headers or {})
        self.extra = {**({"errors": list(errors)} if errors else {}), **extra}


class Unauthenticated(Problem):
    status, code, title = 401, "unauthenticated", ("需要登录", "Sign in first")


class StepUpNeeded(Problem):
    status, code, title = 401, "step_up_needed", ("需要更高的实名等级", "A higher level is needed")


class Forbidden(Problem):
    status, code, title = 403, "forbidden", ("没有权限", "Not allowed")


class NotMandated(Problem):
    status, code, title = 403, "not_mandated", ("不在委托范围内", "Not part of the mandate")


class NotFound(Problem):
    status, code, title = 404, "not_found", ("没有找到", "Not found")


class Conflict(Problem):
    status, code, title = 409, "conflict", ("与现有内容冲突", "Conflicts with what is there")


class IllegalMove(Problem):
    status, code, title = 409, "illegal_move", ("当前状态不能这样做", "Not possible in this state")


class InProgress(Problem):
    status, code, title = 409, "in_progress", ("正在处理", "Still in progress")


class UnsupportedMediaType(Problem):
    status, code, title = 415, "media_type", ("内容类型不支持", "Unsupported media type")


class Stale(Problem):
    status, code, title = 412, "stale", ("内容已被更新", "Changed in the meantime")


class ConditionRequired(Problem):
    status, code, title = 428, "condition_required", ("缺少 If-Match", "If-Match is missing")


class KeyMissing(Problem):
    status, code, title = (
        400,
        "idempotency_key_missing",
        ("缺少 Idempotency-Key", "Idempotency-Key is missing"),
    )


class KeyReused(Problem):
    status, code, title = (
        422,
        "idempotency_key_reused",
        ("Idempotency-Key 已用于另一请求", "Idempotency-Key was used for another request"),
    )


class Invalid(Problem):
    status, code, title = 422, "invalid", ("内容需要修改", "Something needs a change")


class TooMany(Problem):
    status, code, title = 429, "too_many", ("请求太频繁", "Too many requests")


class Unavailable(Problem):
    status, code, title = 503, "unavailable", ("服务暂时不可用", "Temporarily unavailable")

    def __init__(self, zh: str, en: str, *, retry_after: int = 2, **extra: Any) -> None:
        super().__init__(zh, en, headers={"retry-after": str(retry_after)}, **extra)


def database_away() -> Unavailable:
    """503: what could not be done can be asked for again under the same key."""
    return Unavailable(
        "数据服务正在恢复,您的请求没有被处理。请稍后用同一 Idempotency-Key 重试。",
        "The data store is recovering; nothing was done. Retry with the same Idempotency-Key.",
    )


def problem_response(request: Request, problem: Problem) -> Response:
    """The answer in the caller's language. A service with pages for people may set
    `app.state.problem_page`: what it returns for a request, if anything, goes out instead."""
    show: Callable[[Request, Problem], Response | None] | None
    show = getattr(request.app.state, "problem_page", None)
    page: Response | None = show(request, problem) if show is not None else None
    if page is not None:
        return page
    english = wants_english(request.headers.get("accept-language"))
    body = render(
        status=problem.status,
        code=problem.code,
        title=problem.title[english],
        detail=problem.en if english else problem.zh,
        instance=request.url.path,
        request_id=context.request_id.get(),
        **problem.extra,
    )
    headers = {"content-language": "en" if english else "zh-CN"} | problem.headers
    return Response(body, problem.status, headers, media_type="application/problem+json")


BY_STATUS = {
    400: (
        "bad_request",
        ("请求不合适", "The request does not fit"),
        ("无法读懂请求。请检查格式后重试。", "The request could not be read. Check its form."),
    ),
    404: (
        "not_found",
        ("没有找到", "Not found"),
        ("没有这个地址。请对照接口文档。", "There is no such address. See the reference at /docs."),
    ),
    405: (
        "method_not_allowed",
        ("不支持该方法", "Method not allowed"),
        ("这个地址不支持该方法。请看 Allow。", "This address takes other methods. See Allow."),
    ),
    413: (
        "too_large",
        ("请求内容太大", "The request is too large"),
        ("请求内容超出上限。请缩小后重试。", "The body is over the limit. Send less."),
    ),
    415: (
        "media_type",
        ("内容类型不支持", "Unsupported media type"),
        ("请以 application/json 提交。", "Send application/json."),
    ),
}
OTHER_STATUS = (
    "http_error",
    ("请求未被接受", "Not accepted"),
    ("请求未被接受。请对照接口文档。", "The request was not accepted. See the reference at /docs."),
)
_PYDANTIC = {
    "missing": ("请填写此项。", "Please fill in this field."),
    "extra_forbidden": ("没有此字段,请删除。", "There is no such field; leave it out."),
    "string_too_short": (
        "内容太短,至少需要 {min_length} 个字符。",
        "Too short; at least {min_length} characters are needed.",
    ),
    "string_too_long": (
        "内容太长,最多 {max_length} 个字符。",
        "Too long; at most {max_length} characters are taken.",
    ),
    "string_pattern_mismatch": ("格式不符,请对照说明填写。", "Not in the expected form."),
    "json_invalid": ("请求内容不是 JSON。", "The body is not JSON."),
    "model_attributes_type": ("应为一个 JSON 对象。", "Send a JSON object here."),
    "model_type": ("应为一个 JSON 对象。", "Send a JSON object here."),
    "dict_type": ("应为一个 JSON 对象。", "Send a JSON object here."),
    "list_type": ("应为一个列表。", "Send a list here."),
    "string_type": ("应为文本。", "Send a text here."),
    "bool_type": ("应为 true 或 false。", "Send true or false here."),
    "bool_parsing": ("应为 true 或 false。", "Send true or false here."),
    "int_type": ("应为整数。", "Send a whole number here."),
    "int_parsing": ("应为整数。", "Send a whole number here."),
    "date_parsing": ("日期请写作 2026-09-01。", "Write the date as 2026-09-01."),
    "date_from_datetime_parsing": ("日期请写作 2026-09-01。", "Write the date as 2026-09-01."),
    "datetime_parsing": (
        "时间请写作 2026-09-01T09:30:00+08:00。",
        "Write the time as 2026-09-01T09:30:00+08:00.",
    ),
    "datetime_from_date_parsing": (
        "时间请写作 2026-09-01T09:30:00+08:00。",
        "Write the time as 2026-09-01T09:30:00+08:00.",
    ),
    "timezone_aware": (
        "请写明时区,例如 2026-09-01T09:30:00+08:00。",
        "Say the offset, as in 2026-09-01T09:30:00+08:00.",
    ),
    "greater_than_equal": ("应不小于 {ge}。", "Must be at least {ge}."),
    "greater_than": ("应大于 {gt}。", "Must be more than {gt}."),
    "less_than_equal": ("应不大于 {le}。", "Must be at most {le}."),
    "less_than": ("应小于 {lt}。", "Must be less than {lt}."),
    "literal_error": ("只能是 {expected}。", "Must be one of {expected}."),
    "enum": ("只能是 {expected}。", "Must be one of {expected}."),
    "too_short": ("至少需要 {min_length} 项。", "At least {min_length} are needed."),
    "too_long": ("最多 {max_length} 项。", "At most {max_length} are taken."),
}


_PLAIN = re.compile(r"(?!(?:\D*\d){4})[A-Za-z_][A-Za-z0-9_-]{0,59}")


def pointer(place: Sequence[Any]) -> str:
    """A JSON pointer. Names in it may be the client's own invention: one that does not look like
    the name of a field (and may be a telephone number, say) is shown as `?`."""
    parts = []
    for part in place:
        known = isinstance(part, int) or _PLAIN.fullmatch(str(part))
        parts.append(str(part) if known else "?")
    return "/" + "/".join(parts)


def _chinese(listed: str) -> str:
    """pydantic's `'a', 'b' or 'c'` for a Chinese sentence."""
    return listed.replace("' or '", "'、'").replace("', '", "'、'")


def field_errors(errors: Sequence[Any]) -> list[dict[str, str]]:
    """pydantic errors → pointer, code and bilingual message; never the value itself."""
    found = []
    for error in errors:
        kind = str(error["type"])
        if kind == "value_error" and error.get("ctx"):
            cause = error["ctx"].get("error")
            zh, en = getattr(cause, "zh", None), getattr(cause, "en", None)
        else:
            zh, en = _PYDANTIC.get(kind, (None, None))
            if kind == "missing" and tuple(error["loc"]) == ("body",):
                zh, en = "请以 JSON 提交请求内容。", "Send a JSON body."
            if zh and en and "{" in zh:
                # What our own schema says of the bound; nothing of what was sent.
                told = {name: str(value) for name, value in error["ctx"].items()}
                zh = zh.format_map({k: _chinese(v) for k, v in told.items()})
                en = en.format_map(told)
        code = re.sub(r"[^a-z0-9_]", "_", kind.lower())
        found.append(
            {
                "pointer": pointer(error["loc"]),
                "code": code,
                "message": zh or "请检查此项的格式和范围。",
                "message_en": en or "Check the form and range of this field.",
            }
        )
    return found


def install(app: FastAPI) -> None:
    """Give the app the handlers that turn every exception into a problem."""

    async def on_problem(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, Problem)
        return problem_response(request, exc)

    async def on_invalid(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, RequestValidationError)
        problem = Invalid(
            "有内容需要修改,请看 errors 中逐项的说明。",
            "Some fields need a change; see errors.",
            errors=field_errors(exc.errors()),
        )
        return problem_response(request, problem)

    async def on_http(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, HTTPException)
        code, title, (zh, en) = BY_STATUS.get(exc.status_code, OTHER_STATUS)
        problem = Problem(zh, en, headers=exc.headers)
        problem.__dict__.update(status=exc.status_code, code=code, title=title)
        return problem_response(request, problem)

    async def on_database(request: Request, exc: Exception) -> Response:
        if isinstance(exc, DBAPIError) and not isinstance(exc, OperationalError | InterfaceError):
            state = str(getattr(exc.orig, "sqlstate", "") or "")
            if state.startswith("22"):
                return problem_response(
                    request,
                    Invalid(
                        "内容含有无法保存的字符或数值。请修改后重试。",
                        "It holds a character or number that cannot be stored.",
                    ),
                )
            if not (state.startswith(("08", "53", "57", "40", "55")) or exc.connection_invalidated):
                raise exc
        elif isinstance(exc, OSError) and not (
            isinstance(exc, _UNREACHED) or exc.errno in _UNREACHABLE
        ):
            raise exc  # a file of ours, not the way to the database
        log.warning("database unavailable: %s", type(exc).__name__)
        return problem_response(request, database_away())

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(DBAPIError, on_database)
    app.add_exception_handler(PoolTimeout, on_database)
    # The driver's own come as they are: a refused connection, a name that is not there while its
    # machine is dead, a statement whose limit is over (ConnectionError, gaierror, TimeoutError).
    app.add_exception_handler(OSError, on_database)
