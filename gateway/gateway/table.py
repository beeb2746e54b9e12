"""The route table: which path belongs to which service, as data. Nothing else is proxied."""

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
KIB = 1024
MIB = 1024 * KIB

SERVICES = (
    "identity",
    "catalog",
    "case",
    "licence",
    "payment",
    "logistics",
    "helpdesk",
    "exchange",
)

OWN = "gateway"
"""Instead of a service: the gateway's app answers, behind the same token check and limits."""


@dataclass(frozen=True)
class Route:
    """One prefix and the service that owns it. It matches whole path segments; the longest match
    wins."""

    prefix: str
    service: str
    exact: bool = False
    """Only this very path, nothing below it."""
    public: bool = False
    """Also meant for callers without a token; their `Authorization` may use another scheme
    (Basic of an OAuth client). Elsewhere only Bearer and DPoP are let through."""
    body_limit: int = 256 * KIB
    cached: bool = False
    """Answers that the service calls public may be kept for a moment."""
    seconds: float = 15.0
    """Longest silence of the service before we answer 504."""


ROUTES = (
    Route("/oauth2", "identity", public=True, body_limit=64 * KIB),
    Route("/.well-known", "identity", public=True, body_limit=0),
    Route("/v1/accounts", "identity", public=True),
    Route("/v1/phone-codes", "identity", public=True),
    Route("/v1/me", "identity", exact=True),
    Route("/v1/me/profile", "identity"),
    Route("/v1/me/access-log", "identity"),
    Route("/v1/me/consents", "identity"),
    Route("/v1/clients", "identity"),
    Route("/v1/departments", "identity", public=True),
    Route("/v1/staff", "identity"),
    Route("/v1/mandates", "identity"),
    Route("/v1/items", "catalog", public=True, cached=True, body_limit=1 * MIB),
    Route("/v1/packages", "catalog", public=True, cached=True, body_limit=1 * MIB),
    Route("/v1/calendars", "catalog", public=True, cached=True),
    Route("/v1/regions", "catalog", public=True, cached=True),
    Route("/v1/cases", "case", body_limit=20 * MIB),
    Route("/v1/tasks", "case", body_limit=1 * MIB),
    Route("/v1/window", "case", body_limit=1 * MIB),
    Route("/v1/files", "case", body_limit=20 * MIB, seconds=60.0),
    Route("/v1/licences", "licence"),
    Route("/v1/licences/jwks.json", "licence", public=True, exact=True),
    Route("/v1/licence-orders", "licence"),
    Route("/v1/me/licences", "licence"),
    Route("/v1/verify", "licence", public=True, body_limit=64 * KIB),
    Route("/v1/licence-types", "licence", public=True),
    Route("/v1/status-lists", "licence", public=True),
    Route("/v1/payments", "payment"),
    Route("/v1/refunds", "payment"),
    Route("/v1/ledger", "payment", seconds=30.0),
    Route("/callbacks/wechat", "payment", public=True, body_limit=64 * KIB),
    Route("/v1/shipments", "logistics"),
    Route("/v1/addresses", "logistics"),
    Route("/callbacks/sf", "logistics", public=True),
    Route("/v1/ratings", "helpdesk"),
    Route("/v1/ratings/criteria", "helpdesk", public=True, exact=True),
    Route("/v1/events", "exchange", seconds=60.0),
    Route("/v1/portal", OWN, body_limit=0),
    Route("/v1/events/asyncapi.json", OWN, exact=True, public=True, body_limit=0),
    Route("/v1/partners", "exchange"),
    Route("/v1/me/matters", "exchange"),
    *(Route(f"/v1/ops/{service}", service, body_limit=64 * KIB) for service in SERVICES),
)


class _Node(Generic[T]):
    """One path segment of the table."""

    def __init__(self) -> None:
        self.children: dict[bytes, _Node[T]] = {}
        self.hit: T | None = None
        self.exact = False


class Table(Generic[T]):
    """Finds what was bound to a path: a few dictionary look-ups, whatever its length."""

    def __init__(self, bound: list[tuple[Route, T]]) -> None:
        self._root: _Node[T] = _Node()
        self._depth = 0
        for route, value in bound:
            segments = route.prefix.encode().split(b"/")[1:]
            self._depth = max(self._depth, len(segments))
            node = self._root
            for segment in segments:
                node = node.children.setdefault(segment, _Node())
            node.hit, node.exact = value, route.exact

    def find(self, path: bytes) -> T | None:
        """What was bound to the longest prefix of `path`, or None. `path` starts with a slash
        and is compared as it is: an escaped spelling of a prefix is not that prefix."""
        segments = path.split(b"/", self._depth + 1)
        node, found, last = self._root, None, len(segments) - 1
        for i in range(1, last + 1):
            child = node.children.get(segments[i])
            if child is None:
                break
            node = child
            if node.hit is not None and (i == last or not node.exact):
                found = node.hit
        return found
