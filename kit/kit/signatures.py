"""What a route's signature asks of a request, worked out once instead of with every request.

FastAPI walks the tree of parameters and dependencies anew each time, through exit stacks, caches
and switches that our routes do not use. Here is the same walk for what they do use: parameters of
simple types (lists of them in the query), one JSON body, the request, the response to come,
and coroutines that ask for the same. Order, pydantic's validators and errors are FastAPI's own,
so both ways give the same answer byte for byte (`tests/flows/test_lane.py`). `compiled` gives None
for any other signature, which FastAPI then handles itself.
"""

import email.message
import inspect
import json
from collections.abc import Awaitable, Callable, Coroutine
from enum import Enum
from functools import lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from fastapi import Request, Response, params
from fastapi.dependencies.models import Dependant
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError, ResponseValidationError
from fastapi.responses import JSONResponse
from pydantic import AwareDatetime
from starlette.exceptions import HTTPException

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
_SIMPLE = (str, int, float, bool, NoneType, AwareDatetime)
_SHAPES = ("include", "exclude", "by_alias", "exclude_unset", "exclude_defaults", "exclude_none")
_MISSING: Any = object()


class Unknown(Exception):
    """A signature holds something that only FastAPI knows."""


class Parameter:
    """One value out of path, query, headers or cookies."""

    def __init__(self, field: Any, place: str) -> None:
        info = field.field_info
        alias = info.validation_alias or info.alias or field.name
        if not isinstance(info, params.Param) or not isinstance(alias, str) or field.config:
            raise Unknown
        self._many = _is_list(info.annotation) and place == "query"
        simple = self._many or _is_simple(info.annotation)
        if not simple or info.default_factory or info.validate_default:
            raise Unknown
        if isinstance(info.default, list):
            raise Unknown
        self.name, self.alias, self._validate = field.name, alias, field.validate
        self._loc = (place, alias)
        self._default = _MISSING if info.is_required() else info.default

    def read(self, found: Any, values: dict[str, Any], errors: list[Any]) -> None:
        value = (found.getlist(self.alias) or None) if self._many else found.get(self.alias)
        if value is None:
            if self._default is _MISSING:
                errors.append(_missing(self._loc))
            else:
                values[self.name] = self._default
            return
        value, wrong = self._validate(value, values, loc=self._loc)
        if wrong:
            errors += wrong
        else:
            values[self.name] = value


class Signature:
    """A function and where each of its arguments comes from. Raises Unknown."""

    def __init__(self, dependant: Dependant, seen: set[Any], *, inner: bool = False) -> None:
        call = dependant.call
        # The same one asked for twice is FastAPI's matter: it has a cache for that.
        if call is None or call in seen or not _is_coroutine(call) or dependant.concurrency:
            raise Unknown
        if (
            dependant.websocket_param_name
            or dependant.http_connection_param_name
            or dependant.background_tasks_param_name
            or dependant.security_scopes_param_name
            or (inner and dependant.body_params)
        ):
            raise Unknown
        seen.add(call)
        self.call: Callable[..., Awaitable[Any]] = call
        self._inner = [(d.name, Signature(d, seen, inner=True)) for d in dependant.dependencies]
        self._path = [Parameter(field, "path") for field in dependant.path_params]
        self._query = [Parameter(field, "query") for field in dependant.query_params]
        self._headers = [Parameter(field, "header") for field in dependant.header_params]
        self._cookies = [Parameter(field, "cookie") for field in dependant.cookie_params]
        self._body = _body_field(dependant.body_params)
        self._request, self._response = dependant.request_param_name, dependant.response_param_name
        self.shapes_response: bool = bool(self._response) or any(
            signature.shapes_response for _, signature in self._inner
        )

    async def arguments(
        self, request: Request, response: Response | None, body: Any, errors: list[Any]
    ) -> dict[str, Any]:
        """Everything that the function is called with; what is wrong joins `errors`."""
        values: dict[str, Any] = {}
        for name, inner in self._inner:
            before = len(errors)
            given = await inner.arguments(request, response, _MISSING, errors)
            if len(errors) == before:
                solved = await inner.call(**given)
                if name is not None:
                    values[name] = solved
        for parameter in self._path:
            parameter.read(request.path_params, values, errors)
        for parameter in self._query:
            parameter.read(request.query_params, values, errors)
        for parameter in self._headers:
            parameter.read(request.headers, values, errors)
        for parameter in self._cookies:
            parameter.read(request.cookies, values, errors)
        if self._body is not None:
            self._validate_body(body, values, errors)
        if self._request:
            values[self._request] = request
        if self._response:
            values[self._response] = response
        return values

    def _validate_body(self, body: Any, values: dict[str, Any], errors: list[Any]) -> None:
        info = self._body.field_info
        if body is _MISSING:
            if info.is_required():
                errors.append(_missing(("body",)))
            else:
                values[self._body.name] = info.default
            return
        value, wrong = self._body.validate(body, values, loc=("body",))
        values[self._body.name] = value
        errors += wrong


def compiled(route: Any) -> Handler | None:
    """The handler of a route (as `iter_route_contexts` gives it): from a request to its answer, or
    to the exception that FastAPI would raise."""
    try:
        signature = Signature(route.dependant, set())
    except Unknown:
        return None
    strict = getattr(route.strict_content_type, "value", route.strict_content_type)
    if not strict or route.is_json_stream or route.is_sse_stream:
        return None
    own_class = None if hasattr(route.response_class, "value") else route.response_class
    reads_body, usual_status = bool(route.dependant.body_params), route.status_code
    field = route.response_field
    shape = {name: getattr(route, f"response_model_{name}") for name in _SHAPES}

    async def handle(request: Request) -> Response:
        body = await _read_json(request) if reads_body else _MISSING
        coming = _blank() if signature.shapes_response else None
        errors: list[Any] = []
        arguments = await signature.arguments(request, coming, body, errors)
        if errors:
            raise RequestValidationError(errors)
        made = await signature.call(**arguments)
        if isinstance(made, Response):
            return made
        status = (coming.status_code if coming is not None else None) or usual_status or 200
        if field is None:
            answer: Response = (own_class or JSONResponse)(jsonable_encoder(made), status)
        else:
            value, wrong = field.validate(made, {}, loc=("response",))
            if wrong:
                raise ResponseValidationError(errors=wrong)
            if own_class is None:
                content = field.serialize_json(value, **shape)
                answer = Response(content, status, media_type="application/json")
            else:
                answer = own_class(field.serialize(value, **shape), status)
        if status < 200 or status in (204, 205, 304):
            answer.body = b""
        if coming is not None:
            answer.headers.raw.extend(coming.headers.raw)
        return answer

    return handle


def _is_coroutine(call: Any) -> bool:
    return inspect.iscoroutinefunction(call if inspect.isroutine(call) else type(call).__call__)


def _is_simple(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated:
        return _is_simple(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return all(_is_simple(each) for each in get_args(annotation))
    if get_origin(annotation) is Literal:
        return True
    return annotation in _SIMPLE or (isinstance(annotation, type) and issubclass(annotation, Enum))


def _is_list(annotation: Any) -> bool:
    if get_origin(annotation) in (Union, UnionType):
        return {_is_list(each) for each in get_args(annotation) if each is not NoneType} == {True}
    return get_origin(annotation) is list


def _body_field(fields: list[Any]) -> Any:
    if not fields:
        return None
    info = fields[0].field_info
    if len(fields) > 1 or type(info) is not params.Body or info.embed or info.default_factory:
        raise Unknown
    if not info.is_required() and info.default is not None:
        raise Unknown
    return fields[0]


def _missing(loc: tuple[str, ...]) -> dict[str, Any]:
    return {"type": "missing", "loc": loc, "msg": "Field required", "input": None}


def _blank() -> Response:
    """What a route and its dependencies may put headers and a status on."""
    response = Response()
    del response.headers["content-length"]
    response.status_code = None  # type: ignore[assignment]
    return response


async def _read_json(request: Request) -> Any:
    """The body: its JSON, its bytes where it is said to be something else, or nothing."""
    raw = await request.body()
    if not raw:
        return _MISSING
    if not _is_json(request.headers.get("content-type")):
        return raw
    try:
        return json.loads(raw)
    except json.JSONDecodeError as wrong:
        loc = ("body", wrong.pos)
        raise RequestValidationError([{"type": "json_invalid", "loc": loc, "input": {}}]) from wrong
    except Exception as wrong:
        raise HTTPException(400) from wrong


@lru_cache(maxsize=64)
def _is_json(content_type: str | None) -> bool:
    if not content_type:
        return False
    message = email.message.Message()
    message["content-type"] = content_type
    kind = message.get_content_subtype()
    is_json = kind == "json" or kind.endswith("+json")
    return is_json and message.get_content_maintype() == "application"
