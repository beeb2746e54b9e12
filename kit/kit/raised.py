"""Which problems a route may answer with, read off the code that it can reach.

Follows the names that a function's compiled code mentions: more than ever happens in one request,
never less than what is raised by name.
"""

from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

from fastapi.dependencies.models import Dependant

from .errors import Problem

_FOLLOWED = ("kit.auth", "kit.calls", "kit.pages", "kit.states", "kit.versions")


def problems_of(dependant: Dependant, within: str) -> set[type[Problem]]:
    """All kinds of Problem that the route or what it depends on mentions. Followed are functions
    and classes of the package `within`, and of the kit's rooms that raise on behalf of a route."""
    return raised_by(*(call for call in _calls(dependant) if call is not None), within=within)


def raised_by(*things: Any, within: str) -> set[type[Problem]]:
    """The same for single functions."""
    found: set[type[Problem]] = set()
    seen: set[int] = set()
    waiting: list[Any] = list(things)
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, type) and issubclass(thing, Problem):
            if thing is not Problem:
                found.add(thing)
            continue
        for code, namespace in _codes(thing):
            waiting += [other for other in _mentioned(code, namespace) if _ours(other, within)]
    return found


def _calls(dependant: Dependant) -> Iterator[Callable[..., Any] | None]:
    yield dependant.call
    for inner in dependant.dependencies:
        yield from _calls(inner)


def _ours(thing: Any, within: str) -> bool:
    if isinstance(thing, type) and issubclass(thing, Problem):
        return True
    module = getattr(thing, "__module__", None) or ""
    return module.split(".")[0] == within or module in _FOLLOWED


def _codes(thing: Any) -> Iterator[tuple[CodeType, dict[str, Any]]]:
    """The compiled code of a function, or of all methods of a class or of an object's class."""
    if isinstance(thing, FunctionType):
        yield thing.__code__, thing.__globals__
        inner = getattr(thing, "__wrapped__", None)
        if isinstance(inner, FunctionType):
            yield inner.__code__, inner.__globals__
        return
    kind = thing if isinstance(thing, type) else type(thing)
    for member in list(vars(kind).values()):  # looking at a member can add one (SQLAlchemy)
        function = getattr(member, "__func__", getattr(member, "fget", member))
        if isinstance(function, FunctionType):
            yield function.__code__, function.__globals__


def _mentioned(code: CodeType, namespace: dict[str, Any]) -> Iterator[Any]:
    """What the names in the code stand for: globals, and what they are names of in modules."""
    names = set(code.co_names)
    modules: list[ModuleType] = []
    for name in names:
        value = namespace.get(name)
        if isinstance(value, ModuleType):
            modules.append(value)
        elif isinstance(value, FunctionType | type):
            yield value
    for module in modules:
        for name in names:
            value = getattr(module, name, None)
            if isinstance(value, FunctionType | type):
                yield value
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _mentioned(constant, namespace)
