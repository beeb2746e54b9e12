"""Finds the row of the table for a path: a few dictionary look-ups, whatever its length."""

from collections.abc import Iterable
from typing import Generic, TypeVar

from .table import Route

T = TypeVar("T")


class Place(Generic[T]):
    """One path of the table, spelt with variables."""

    __slots__ = ("allow", "bound")

    def __init__(self) -> None:
        self.bound: dict[bytes, T] = {}
        """What was bound to each method; HEAD is answered like GET."""
        self.allow = b""
        """Value of the `Allow` field of a 405."""


class _Node(Generic[T]):
    """One path segment of the table."""

    __slots__ = ("any", "place", "words")

    def __init__(self) -> None:
        self.words: dict[bytes, _Node[T]] = {}
        self.any: _Node[T] | None = None
        self.place: Place[T] | None = None


class Table(Generic[T]):
    """A plain word in a path comes before a variable, whatever the method: `/licences/jwks.json` is
    not `/licences/{licence_id}`, and `/passkeys/options` cannot be deleted (OpenAPI 3.1, Paths
    Object: concrete before templated)."""

    def __init__(self, bound: Iterable[tuple[Route, T]]) -> None:
        self._root: _Node[T] = _Node()
        for route, value in bound:
            node = self._root
            for segment in route.path.encode().split(b"/")[1:]:
                if segment.startswith(b"{"):
                    node.any = node = node.any or _Node()
                else:
                    node = node.words.setdefault(segment, _Node())
            place = node.place = node.place or Place()
            method = route.method.encode()
            if method in place.bound:
                raise ValueError(f"{route.method} {route.path} stands in the table twice")
            place.bound[method] = value
        _finish(self._root)

    def find(self, path: bytes) -> Place[T] | None:
        """The place of `path`, or None. It starts with a slash and is compared as it is: an
        escaped spelling of a word is not that word."""
        node = self._root
        for segment in path.split(b"/")[1:]:
            child = node.words.get(segment)
            if child is None:
                child = node.any
                if child is None or not segment:
                    return None
            node = child
        return node.place


def _finish(node: _Node[T]) -> None:
    """Make each word carry on where the variable beside it would: no way has to be tried twice."""
    for child in node.words.values():
        if node.any is not None:
            _inherit(child, node.any)
        _finish(child)
    if node.any is not None:
        _finish(node.any)
    if node.place is not None:
        bound = node.place.bound
        if b"GET" in bound:
            bound.setdefault(b"HEAD", bound[b"GET"])
        node.place.allow = b", ".join(sorted({*bound, b"OPTIONS"}))


def _inherit(word: _Node[T], variable: _Node[T]) -> None:
    """Nothing is shared between the two: what a word gets besides is not the variable's."""
    if variable.place is not None and word.place is None:
        word.place = Place()
        word.place.bound |= variable.place.bound
    for segment, theirs in variable.words.items():
        _inherit(word.words.setdefault(segment, _Node()), theirs)
    if variable.any is not None:
        word.any = word.any or _Node()
        _inherit(word.any, variable.any)
