"""The route class of every service: one transaction per request, committed before the answer.

The session opens lazily, so a route that needs no database takes no connection. A creating
`POST` (declared `status_code=201`) requires an Idempotency-Key; its first answer is stored in
the same transaction as its effect. Other writing methods honour the key when it is sent.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response, params
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session as SyncSession

from . import audit, crash, creations, idempotency, reads
from .bodies import check_json, check_texts
from .errors import ConditionRequired, Stale, database_away
from .idempotency import Claim
from .metrics import REPLAYS
from .retiring import headers_of
from .sessions import MANY

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class In(BaseModel):
    """Base of request bodies: unknown fields are refused, never silently dropped."""

    model_config = ConfigDict(
        extra="forbid", str_strip_whitespace=True, use_attribute_docstrings=True
    )


class Out(BaseModel):
    """Base of answers: made from ORM rows."""

    model_config = ConfigDict(from_attributes=True, use_attribute_docstrings=True)


class BeamRoute(APIRoute):
    def get_route_handler(self) -> Handler:
        return self.transaction(super().get_route_handler())

    def transaction(self, handle: Handler) -> Handler:
        """`handle` with everything that is the same for all routes around it."""
        writes = bool({"POST", "PUT", "PATCH", "DELETE"} & (self.methods or set()))
        key_needed = "POST" in (self.methods or set()) and self.status_code == 201
        path, action = self.path, self.name
        creating = writes and _asks_for(self.dependant, _creating)
        takes_json = takes_json_alone(self)

        async def run(request: Request) -> Response:
            state = request.state
            state.session = None
            if takes_json:
                await check_json(request)
            await check_texts(request)
            try:
                if not writes:
                    state.next = None
                    answer = await handle(request)
                    if state.next is not None:
                        answer.headers["link"] = f'<{state.next}>; rel="next"'
                    if state.session is not None and state.session.info.pop(reads.TOLD, False):
                        await state.session.commit()
                    return answer
                _refuse_while_away(request)
                session = state.session = request.app.state.runtime.sessions()
                claim = await idempotency.read(request, path, required=key_needed)
                if creating and claim is not None:
                    return await _create(request, session, claim, handle, action)
                if claim is not None and (known := await idempotency.take(session, claim)):
                    return _replayed(request, known)
                response = await handle(request)
                audit.note(session, request, action)
                await session.run_sync(_end, claim, response)
                return response
            finally:
                # One that holds no connection leaves nothing behind: closing it is for nothing.
                if state.session is not None and state.session.in_transaction():
                    await asyncio.shield(asyncio.create_task(state.session.close()))

        return _telling(run, ends) if (ends := headers_of(self)) else run


def _telling(handle: Handler, headers: list[tuple[str, str]]) -> Handler:
    async def run(request: Request) -> Response:
        answer = await handle(request)
        for name, value in headers:
            answer.headers.append(name, value)
        return answer

    return run


def takes_json_alone(route: APIRoute) -> bool:
    """Whether the route's body is JSON: neither a form nor the bytes of a file."""
    fields = route.dependant.body_params
    return bool(fields) and all(type(field.field_info) is params.Body for field in fields)


def _replayed(request: Request, known: Response) -> Response:
    REPLAYS.labels(request.app.state.runtime.settings.service).inc()
    return known


async def _create(
    request: Request, session: AsyncSession, claim: Claim, handle: Handler, action: str
) -> Response:
    """A request whose key is taken late, see `Creating`."""
    session.info[idempotency.LATER] = claim
    try:
        response = await handle(request)
        audit.note(session, request, action)
        if not await creations.kept_with_others(
            request.app.state.runtime, session, claim, response
        ):
            session.info[MANY] = True
            await session.run_sync(_end, claim, response)
        return response
    except idempotency.Answered:
        known = await _known(session, claim)
    except Exception:
        # Who repeats a request gets its first answer, also when the world has changed since.
        if claim.taken or (known := await _known(session, claim)) is None:
            raise
    assert known is not None
    return _replayed(request, known)


async def _known(session: AsyncSession, claim: Claim) -> Response | None:
    del session.info[idempotency.LATER]
    await session.rollback()
    return await idempotency.take(session, claim)


def _end(session: SyncSession, claim: Claim | None, response: Response) -> None:
    """The answer is kept and all is committed."""
    if claim is not None:
        idempotency.keep(session, claim, response)
    crash.point("q1")
    if crash.planted("answer_without_commit") and claim is not None:
        return
    session.commit()
    crash.point("q2")


def router(**options: Any) -> APIRouter:
    return APIRouter(route_class=BeamRoute, **options)


async def _session(request: Request) -> AsyncSession:
    _refuse_while_away(request)
    state = request.state
    if state.session is None:
        state.session = request.app.state.runtime.sessions()
    session: AsyncSession = state.session
    return session


async def _creating(request: Request) -> AsyncSession:
    return await _session(request)


Creating = Annotated[AsyncSession, Depends(_creating)]
"""The session of a route that only creates. Its new rows, events and answer are kept together with
those of everybody who creates something at the same time, in one statement (`kit.creations`),
and it holds no connection while it asks other services.

For work that does no harm when it is done twice, as far as it reaches outside the database: the
key is taken at the end, and a repeated request may do its work again, which is then thrown away.
Whatever such a route asks of the session itself takes the key at once and makes it an ordinary
transaction; what it reads by `Lookups` does not."""


def _asks_for(dependant: Dependant, call: Any) -> bool:
    return dependant.call is call or any(_asks_for(d, call) for d in dependant.dependencies)


def _refuse_while_away(request: Request) -> None:
    if request.app.state.runtime.database.away:
        raise database_away()


Session = Annotated[AsyncSession, Depends(_session)]


def _runtime(request: Request) -> Any:
    return request.app.state.runtime


def etag(version: int) -> str:
    return f'"{version}"'


async def _if_match(if_match: Annotated[str | None, Header()] = None) -> int | None:
    if if_match is None or if_match.strip() == "*":
        return None
    text = if_match.strip().removeprefix("W/").strip('"')
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1


IfMatch = Annotated[int | None, Depends(_if_match)]
"""The version that the client saw, or None. Pass it to `check_version`."""


def check_version(version: int, seen: int | None, *, required: bool = False) -> None:
    """Raises Stale (412) when the client saw another version, ConditionRequired (428) when it
    had to say and did not."""
    if seen is None:
        if required:
            raise ConditionRequired(
                "请带上 If-Match(读取时得到的 ETag)再提交,以免覆盖他人的修改。",
                "Send If-Match with the ETag that you read, so that no change is overwritten.",
            )
    elif seen != version:
        raise Stale(
            "内容已被更新。请重新读取后再提交;您填写的内容没有保存。",
            "It was changed in the meantime. Read it again, then submit; nothing was saved.",
        )


NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "If-None-Match names the version that is still current"}
}
"""`responses=` of a route that answers with `not_modified`."""


def not_modified(request: Request, version: int) -> Response | None:
    """A 304 when the client's If-None-Match names this version (RFC 9110, 13.1.2: a list, compared
    weakly; a proxy that compresses makes our tag a weak one)."""
    named = request.headers.get("if-none-match", "").split(",")
    if etag(version) in {tag.strip().removeprefix("W/") for tag in named}:
        return Response(status_code=304, headers={"etag": etag(version)})
    return None
