"""Who is calling: the facts of a verified token."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .jose import BadToken

LEVELS = ("L0", "L1", "L2", "L3", "L4")
MOST_ACTORS = 4
"""How many may stand behind one another in `act` (RFC 8693 §4.1)."""


@dataclass(frozen=True)
class Caller:
    """The verified facts of a token. `subject` is whom it is about, `actor` who holds the mouse:
    the outermost of `actors`, behind whom stand those from whom he has it."""

    subject: str
    kind: str
    """person | enterprise | staff | service | partner"""
    roles: frozenset[str] = frozenset()
    dept: str | None = None
    region: str | None = None
    items: frozenset[str] | None = None
    """The items that staff are limited to; None: all of their department (see kit.rights)."""
    level: str = "L0"
    client_id: str = ""
    scopes: frozenset[str] = frozenset()
    actors: tuple[str, ...] = ()
    agent: str | None = None
    """The person among the actors, who acts for the subject as an agent of a firm, under a mandate
    or at the counter."""
    agent_kind: str | None = None
    agent_dept: str | None = None
    mandate: str | None = None
    """The mandate that the agent acts under. Such a caller reaches only what says so: see Gate."""
    via: str | None = None
    """The service that passes this caller on, and has decided that it may."""
    jti: str = ""
    expires: int = 0
    issued: int = 0
    jkt: str | None = None
    """Thumbprint of the key that the token is bound to; then each request comes with a proof."""
    token: str = field(default="", repr=False)

    @classmethod
    def from_claims(cls, claims: Mapping[str, Any], token: str) -> "Caller":
        """Raises BadToken when a claim is not of its type: nothing odd gets as far as a route."""
        texts = {name: _text(claims, name) for name in ("kind", "dept", "region", "client_id")}
        roles, cnf = claims.get("roles", []), claims.get("cnf", {})
        if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
            raise BadToken("roles")
        items = claims.get("items")
        if items is not None and not (
            isinstance(items, list) and all(isinstance(item, str) for item in items)
        ):
            raise BadToken("items")
        level = _text(claims, "acr") or "L0"
        if level not in LEVELS:
            raise BadToken("acr")
        if not isinstance(cnf, dict) or bool(cnf) != bool(_text(cnf, "jkt")):
            raise BadToken("cnf")
        actors, agent, mandate = actors_of(claims), _agent(claims), _text(claims, "mandate")
        if mandate is not None and not agent:
            raise BadToken("a mandate without its agent")
        return cls(
            subject=claims["sub"],
            kind=texts["kind"] or "",
            roles=frozenset(roles),
            dept=texts["dept"],
            region=texts["region"],
            items=None if items is None else frozenset(items),
            level=level,
            client_id=texts["client_id"] or "",
            scopes=frozenset((_text(claims, "scope") or "").split()),
            actors=actors,
            agent=agent.get("sub"),
            agent_kind=_text(agent, "kind"),
            agent_dept=_text(agent, "dept"),
            mandate=mandate,
            jti=claims["jti"],
            expires=claims["exp"],
            issued=claims["iat"],
            jkt=_text(cnf, "jkt"),
            token=token,
        )

    @property
    def actor(self) -> str | None:
        return self.actors[0] if self.actors else None


def actors_of(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """Who acts for the subject of a token, the present one first (RFC 8693 §4.1). Raises BadToken
    for what is no chain, or a longer one than MOST_ACTORS."""
    chain: list[str] = []
    act = claims.get("act")
    while act is not None:
        name = act.get("sub") if isinstance(act, dict) else None
        if not isinstance(name, str) or not name or len(chain) == MOST_ACTORS:
            raise BadToken("act")
        chain.append(name)
        act = act.get("act")
    return tuple(chain)


def _agent(claims: Mapping[str, Any]) -> Mapping[str, Any]:
    """The person in a (checked) chain of actors: the one whose kind is told; empty for none."""
    act: Any = claims.get("act")
    while act is not None and "kind" not in act:
        act = act.get("act")
    return act or {}


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    value = claims.get(name)
    if value is not None and not isinstance(value, str):
        raise BadToken(name)
    return value
