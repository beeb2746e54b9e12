"""The lane: requests for plain routes go straight from the socket to the route.

FastAPI stays what defines a service: its routes, their order, the API reference, every odd case.
But between its door and a route lie some ten layers (routers in routers, exit stacks, wrappers of
send), together dearer than the route itself. The lane stands in front of them and knows the
answer to the one question that they ask each time: which route is it? A route whose signature
`kit.signatures` could work out is called at once; everything else (no such address, another
method, a redirect, a form) goes on as if there were no lane.
"""

import contextlib
import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.types import ASGIApp, Receive, Scope, Send

from . import signatures
from .routing import BeamRoute

Handlers = Mapping[Any, Callable[[Request, Exception], Coroutine[Any, Any, Response]]]


class Way:
    """A route that the lane serves by itself."""

    def __init__(self, context: Any, handlers: Handlers) -> None:
        """Raises Unknown when it cannot."""
        handle, route = signatures.compiled(context), context.original_route
        if handle is None or type(route) not in (APIRoute, BeamRoute):
            raise signatures.Unknown
        self._route = route
        self._run = route.transaction(handle) if isinstance(route, BeamRoute) else handle
        self._match, self._convertors = context.path_regex.match, context.param_convertors
        self._endpoint, self._handlers = context.endpoint, handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._match(scope["path"]).groupdict()
        scope["route"], scope["endpoint"] = self._route, self._endpoint
        scope["path_params"] = {k: self._convertors[k].convert(v) for k, v in found.items()}
        request = Request(scope, receive, send)
        try:
            answer = await self._run(request)
        except Exception as error:
            kinds = [kind for kind in type(error).__mro__ if kind in self._handlers]
            if not kinds:
                raise
            answer = await self._handlers[kinds[0]](request, error)
            error.__traceback__ = None  # it holds this frame, which holds it
        await answer(scope, receive, send)


class Ways:
    """The routes of one method as one regular expression, in the order in which FastAPI asks."""

    def __init__(self, routes: list[tuple[str, Way | None]]) -> None:
        self._ways = [way for _, way in routes]
        groups = (f"({_unnamed(path)})" for path, _ in routes)
        self._match = re.compile("|".join(groups)).match

    def find(self, path: str) -> Way | None:
        found = self._match(path)
        return self._ways[found.lastindex - 1] if found and found.lastindex else None


def _unnamed(pattern: str) -> str:
    return re.sub(r"\(\?P<\w+>", "(?:", pattern)


class Lane:
    """Wraps the rest of a FastAPI app. The table is made with the first request, of the routes
    that the app has by then."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._methods: dict[str, Ways] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope.get("root_path"):
            if self._methods is None:
                self._methods = table(scope["app"])
            ways = self._methods.get(scope["method"])
            way = ways.find(scope["path"]) if ways is not None else None
            if way is not None:
                await way(scope, receive, send)
                return
        await self._app(scope, receive, send)


def table(app: FastAPI) -> dict[str, Ways]:
    """For each method its routes; a route that is not for the lane holds its place with None."""
    handlers: Handlers = {
        kind: handler  # type: ignore[misc]
        for kind, handler in app.exception_handlers.items()
        if kind not in (500, Exception)
    }
    found: dict[str, list[tuple[str, Way | None]]] = {}
    for context in iter_route_contexts(app.routes):
        if context.path_regex is None or not context.methods:
            break  # whatever comes after it might be its own
        way = None
        if isinstance(context.original_route, APIRoute):
            with contextlib.suppress(signatures.Unknown):
                way = Way(context, handlers)
        for method in context.methods:
            found.setdefault(method, []).append((context.path_regex.pattern, way))
    return {method: Ways(routes) for method, routes in found.items()}
