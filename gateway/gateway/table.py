"""The route table: every operation that the beam lets through, whose it is, what it takes.

A list of what is allowed, kept apart from the services' own declarations: `tests/house` holds it
against the merged OpenAPI document, operation by operation. Nothing else is proxied.
"""

from dataclasses import dataclass, replace
from typing import Any

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

PUBLIC: frozenset[str] = frozenset()
"""For callers without a token too; their `Authorization` may use another scheme (Basic of an OAuth
client). Elsewhere only Bearer and DPoP are let through."""
USER = frozenset({"openid"})
"""People, firms and staff, through an application that asked who they are."""
FEED = frozenset({"openid", "events"})
"""Systems of departments, and staff."""
ANYONE = frozenset({"openid", "events", "internal"})
"""Whoever has a token; the service decides what of it he sees."""


@dataclass(frozen=True)
class Rate:
    """A tighter limit beside the general one, as shares of `gateway_rate` and `gateway_burst`:
    one dial moves them all."""

    name: str
    rate: float
    burst: float


RATES = (
    Rate("sign-in", 0.10, 0.25),  # 10 a second, 50 at once
    Rate("codes", 0.005, 0.15),  # 30 a minute, 30 at once; identity-svc also counts by number
    Rate("search", 0.30, 0.40),  # 30 a second, 80 at once
    Rate("payments", 0.02, 0.10),  # 2 a second, 20 at once
)


@dataclass(frozen=True)
class Route:
    """One operation. A `{variable}` in `path` stands for one whole segment that is not empty."""

    method: str
    path: str
    service: str
    scopes: frozenset[str] = USER
    """The token needs one of these (RFC 6750 section 3.1: else 403 `insufficient_scope`)."""
    rate: str | None = None
    """Name of a tighter limit in RATES."""
    body_limit: int = 256 * KIB
    answer_limit: int = 16 * MIB
    """A longer answer is broken off: 502 where none of it was passed on yet."""
    cached: bool = False
    """Answers that the service calls public may be kept for a moment."""
    seconds: float = 15.0
    """Longest silence of the service before we answer 504."""
    published: bool = True
    """Stands in the merged OpenAPI document; pages and callbacks of partners do not."""

    @property
    def is_page(self) -> bool:
        """A person opens it in a browser."""
        hidden = not self.published and self.path.startswith(("/oauth2/", "/find", "/items/"))
        return hidden or self.path == "/oauth2/authorize"

    @property
    def public(self) -> bool:
        return not self.scopes


def _of(service: str, *rows: Route, **common: Any) -> tuple[Route, ...]:
    return tuple(replace(row, service=service, **common) for row in rows)


def _row(operation: str, scopes: frozenset[str] = USER, **more: Any) -> Route:
    method, path = operation.split(" ")
    return Route(method, path, "", scopes, **more)


_PAGES = (
    "login",
    "login/code",
    "logout",
    "device",
    "register",
    "reset",
    "step-up",
    "consent",
    "acting",
)
_PAGE: dict[str, Any] = {"published": False, "rate": "sign-in", "body_limit": 64 * KIB}

ROUTES: tuple[Route, ...] = (
    *_of(
        "identity",
        _row("GET /.well-known/jwks.json", PUBLIC, body_limit=0),
        _row("GET /.well-known/openid-configuration", PUBLIC, body_limit=0),
        _row("GET /oauth2/authorize", PUBLIC, rate="sign-in"),
        _row("POST /oauth2/authorize", PUBLIC, rate="sign-in", body_limit=64 * KIB),
        _row("POST /oauth2/par", PUBLIC, body_limit=64 * KIB),
        _row("POST /oauth2/device_authorization", PUBLIC, rate="sign-in", body_limit=64 * KIB),
        _row("POST /oauth2/token", PUBLIC, body_limit=64 * KIB),
        _row("POST /oauth2/revoke", PUBLIC, body_limit=64 * KIB),
        _row("POST /oauth2/introspect", PUBLIC, body_limit=64 * KIB),
        _row("GET /oauth2/userinfo", ANYONE),
        _row("POST /oauth2/userinfo", ANYONE, body_limit=64 * KIB),
        *(
            _row(f"{method} /oauth2/{page}", PUBLIC, **_PAGE)
            for page in _PAGES
            for method in ("GET", "POST")
        ),
        _row("POST /v1/appointments/{appointment_id}/confirm"),
        _row("POST /v1/appointments/{appointment_id}/refuse"),
        _row("POST /v1/appointments/{appointment_id}/remove"),
        _row("POST /v1/firm-claims"),
        _row("GET /v1/firms/{firm_id}/agents"),
        _row("POST /v1/firms/{firm_id}/agents"),
        _row("GET /v1/mandates"),
        _row("POST /v1/mandates"),
        _row("GET /v1/mandates/{mandate_id}"),
        _row("POST /v1/mandates/{mandate_id}/confirm"),
        _row("POST /v1/mandates/{mandate_id}/refuse"),
        _row("POST /v1/mandates/{mandate_id}/revoke"),
        _row("GET /v1/me/principals", ANYONE),
        _row("POST /v1/accounts", PUBLIC, rate="sign-in"),
        _row("POST /v1/accounts/{account_id}/restore"),
        _row("POST /v1/accounts/{account_id}/suspend"),
        _row("POST /v1/in-person-checks"),
        _row("GET /v1/clients"),
        _row("POST /v1/clients"),
        _row("POST /v1/clients/{client_id}/switch-off"),
        _row("POST /v1/clients/{client_id}/switch-on"),
        _row("GET /v1/departments", PUBLIC),
        _row("GET /v1/fact-corrections"),
        _row("GET /v1/fact-corrections/{correction_id}"),
        _row("POST /v1/fact-corrections/{correction_id}/accept"),
        _row("POST /v1/fact-corrections/{correction_id}/refuse"),
        _row("GET /v1/me", ANYONE),
        _row("GET /v1/me/access-log"),
        _row("GET /v1/me/closing"),
        _row("POST /v1/me/closing"),
        _row("DELETE /v1/me/closing"),
        _row("GET /v1/me/consents"),
        _row("POST /v1/me/consents/{client_id}/withdraw"),
        _row("GET /v1/me/exports"),
        _row("POST /v1/me/exports"),
        _row("GET /v1/me/exports/{export_id}"),
        _row("GET /v1/me/exports/{export_id}/archive", answer_limit=256 * MIB, seconds=30.0),
        _row("GET /v1/me/profile"),
        _row("GET /v1/me/profile/corrections"),
        _row("POST /v1/me/profile/corrections"),
        _row("POST /v1/me/profile/corrections/{correction_id}/withdraw"),
        _row("PUT /v1/me/profile/facts/{key}"),
        _row("DELETE /v1/me/profile/facts/{key}"),
        _row("GET /v1/me/profile/tags"),
        _row("POST /oauth2/login/passkey", PUBLIC, **_PAGE),
        _row("GET /oauth2/upstream", PUBLIC, **_PAGE),
        _row("GET /oauth2/upstream/callback", PUBLIC, **_PAGE),
        _row("GET /oauth2/passkey.js", PUBLIC, published=False, body_limit=0),
        _row("POST /v1/me/passkeys", rate="sign-in", body_limit=64 * KIB),
        _row("POST /v1/me/passkeys/options", rate="sign-in", body_limit=0),
        _row("DELETE /v1/me/passkeys/{passkey_id}", body_limit=0),
        _row("PUT /v1/me/password", rate="sign-in", body_limit=64 * KIB),
        _row("PUT /v1/me/phone", rate="sign-in", body_limit=64 * KIB),
        _row("GET /v1/me/sign-in-ways"),
        _row("DELETE /v1/me/sign-in-ways/wechat", body_limit=0),
        _row("PUT /v1/me/sign-in-ways/wechat", rate="sign-in", body_limit=64 * KIB),
        _row("POST /v1/phone-codes", PUBLIC, rate="codes"),
        _row("POST /v1/sign-ins/wechat", PUBLIC, rate="sign-in", body_limit=64 * KIB),
        _row("GET /v1/staff"),
        _row("POST /v1/staff"),
        _row("GET /v1/staff/{account_id}"),
        _row("PUT /v1/staff/{account_id}/rights"),
        _row("POST /v1/staff/{account_id}/switch-off"),
        _row("POST /v1/staff/{account_id}/switch-on"),
    ),
    *_of(
        "catalog",
        _row("GET /v1/calendars/{year}", PUBLIC, cached=True),
        _row("GET /v1/items", PUBLIC, cached=True, rate="search"),
        _row("POST /v1/items", body_limit=1 * MIB),
        _row("GET /v1/items/search/misses"),
        _row("GET /v1/items/search/synonyms"),
        _row("DELETE /v1/items/search/synonyms/{term}"),
        _row("PUT /v1/items/search/synonyms/{term}"),
        _row("GET /v1/items/{code}", PUBLIC, cached=True),
        _row("POST /v1/items/{code}/drafts"),
        _row("GET /v1/items/{code}/drafts/{number}"),
        _row("PATCH /v1/items/{code}/drafts/{number}", body_limit=1 * MIB),
        _row("POST /v1/items/{code}/drafts/{number}/discard"),
        _row("POST /v1/items/{code}/drafts/{number}/publish"),
        _row("POST /v1/items/{code}/drafts/{number}/return"),
        _row("POST /v1/items/{code}/drafts/{number}/submit"),
        _row("POST /v1/items/{code}/resume"),
        _row("POST /v1/items/{code}/suspend"),
        _row("GET /v1/items/{code}/versions", PUBLIC, cached=True),
        _row("GET /v1/items/{code}/versions/{number}", PUBLIC, cached=True),
        _row("POST /v1/items/{code}/withdraw"),
        _row("GET /v1/packages", PUBLIC, cached=True),
        _row("GET /v1/regions", PUBLIC, cached=True),
    ),
    *_of(
        "case",
        _row("GET /v1/cases", ANYONE),
        _row("POST /v1/cases"),
        _row("GET /v1/cases/{case_id}", ANYONE),
        _row("PATCH /v1/cases/{case_id}", body_limit=1 * MIB),
        _row("POST /v1/cases/{case_id}/accept"),
        _row("GET /v1/cases/{case_id}/clock", ANYONE),
        _row("POST /v1/cases/{case_id}/correct"),
        _row("POST /v1/cases/{case_id}/decide"),
        _row("POST /v1/cases/{case_id}/hand-over"),
        _row("PUT /v1/cases/{case_id}/materials/{slot_id}", body_limit=20 * MIB, seconds=60.0),
        _row(
            "GET /v1/cases/{case_id}/materials/{slot_id}/content",
            ANYONE,
            answer_limit=32 * MIB,
            seconds=60.0,
        ),
        _row("POST /v1/cases/{case_id}/refuse"),
        _row("POST /v1/cases/{case_id}/submit"),
        _row("GET /v1/cases/{case_id}/timeline", ANYONE),
        _row("POST /v1/cases/{case_id}/withdraw"),
        _row("GET /v1/tasks"),
        _row("POST /v1/tasks/{task_id}/claim"),
        _row("POST /v1/tasks/{task_id}/decide"),
        _row("POST /v1/tasks/{task_id}/request-correction"),
    ),
    *_of(
        "licence",
        _row("GET /v1/licence-orders"),
        _row("POST /v1/licence-orders/{order_id}/retry"),
        _row("GET /v1/licence-types", PUBLIC),
        _row("GET /v1/licences/jwks.json", PUBLIC),
        _row("GET /v1/licences/{licence_id}"),
        _row("GET /v1/licences/{licence_id}/credential"),
        _row("POST /v1/licences/{licence_id}/present"),
        _row("POST /v1/licences/{licence_id}/status"),
        _row("GET /v1/me/licences"),
        _row("GET /v1/me/licences/in-force"),
        _row("GET /v1/status-lists/{n}", PUBLIC),
        _row("POST /v1/verify", PUBLIC, body_limit=64 * KIB),
    ),
    *_of(
        "payment",
        _row("GET /v1/ledger/balance", seconds=30.0),
        _row("GET /v1/payments"),
        _row("GET /v1/payments/{payment_id}"),
        _row("POST /v1/payments/{payment_id}/attempts", rate="payments", seconds=30.0),
        _row("POST /v1/differences/{difference_id}/reopen"),
        _row("POST /v1/differences/{difference_id}/settle"),
        _row("GET /v1/reconciliations"),
        _row("POST /v1/reconciliations"),
        _row("GET /v1/reconciliations/{reconciliation_id}"),
        _row("GET /v1/reconciliations/{reconciliation_id}/differences"),
        _row("GET /v1/refunds"),
        _row("POST /callbacks/wechat", PUBLIC, published=False, body_limit=64 * KIB),
        _row("POST /callbacks/wechat/refund", PUBLIC, published=False, body_limit=64 * KIB),
    ),
    *_of(
        "logistics",
        _row("GET /v1/addresses"),
        _row("POST /v1/addresses"),
        _row("DELETE /v1/addresses/{address_id}"),
        _row("GET /v1/shipments", ANYONE),
        _row("GET /v1/shipments/{shipment_id}", ANYONE),
        _row("POST /callbacks/sf/{secret}", PUBLIC, published=False),
    ),
    *_of(
        "helpdesk",
        _row("GET /v1/ratings"),
        _row("GET /v1/ratings/criteria", PUBLIC),
        _row("GET /v1/ratings/policies"),
        _row("PUT /v1/ratings/policies/{region}"),
        _row("GET /v1/ratings/received"),
        _row("GET /v1/ratings/{rating_id}"),
        _row("POST /v1/ratings/{rating_id}/submit"),
    ),
    *_of(
        "exchange",
        _row("GET /v1/events", FEED, seconds=60.0),
        _row("GET /v1/events/schemas/{event_type}", PUBLIC),
        _row("GET /v1/me/matters"),
        _row("GET /v1/partners"),
        _row("POST /v1/partners"),
    ),
    *(
        row
        for service in SERVICES
        for row in _of(
            service,
            _row(f"GET /v1/ops/{service}"),
            _row(f"GET /v1/ops/{service}/dead-letters"),
            _row(f"GET /v1/ops/{service}/dead-letters/{{letter_id}}"),
            _row(f"POST /v1/ops/{service}/dead-letters/{{letter_id}}/replay"),
            _row(f"GET /v1/ops/{service}/staff-actions"),
            body_limit=64 * KIB,
        )
    ),
    *_of(
        OWN,
        _row("GET /v1/portal/home"),
        _row("GET /v1/ops"),
        _row("GET /v1/events/asyncapi.json", PUBLIC),
        _row("GET /find", PUBLIC, published=False, rate="search"),
        _row("GET /items/{code}", PUBLIC, published=False),
        body_limit=0,
    ),
)
