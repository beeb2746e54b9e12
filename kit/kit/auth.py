"""Who is calling: a Caller made from a verified token, and the gates that routes put in front.

Every route names its caller in its signature: `caller: Person`, `caller: Counter`, `_: Public` …
A house test finds a route that does not. What a caller may do with *this* case or licence is
checked in the domain query itself.
"""

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

import httpx
from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from . import context, dpop
from .caller import LEVELS as LEVELS
from .caller import MOST_ACTORS as MOST_ACTORS
from .caller import Caller as Caller
from .caller import actors_of as actors_of
from .errors import Forbidden, NotMandated, StepUpNeeded, Unauthenticated, Unavailable
from .jose import BadToken, KeySet, UnknownKey
from .revocations import Revoked

AUDIENCE = "beam"
CACHE_SIZE = 20_000
REFRESH_SECONDS = 12 * 3600
UNKNOWN_KID_SECONDS = 30
WARM_SECONDS = (0.5, 15.0)
"""Between the tries to fetch the first keys: at first, and at most."""


def audience_of(service: str) -> str:
    """The `aud` of a token that is good for one service alone."""
    return f"{AUDIENCE}:{service}"


JwksLoader = Callable[[], Awaitable[Mapping[str, Any]]]


class Keyring:
    """Verifies tokens with the issuer's cached public keys.

    Keys are fetched on first use and every 12 h; an unknown `kid` causes at most one fetch per
    30 s; while the issuer is away the last keys go on serving. Verified tokens are remembered.
    `services`: those whose narrower tokens are taken beside the ones for all (`beam:licence`).
    """

    def __init__(
        self, issuer: str, load: JwksLoader | str, *, services: Iterable[str] = ()
    ) -> None:
        self.issuer = issuer
        self._audiences = (AUDIENCE, *(audience_of(service) for service in services))
        self._load = _over_http(load) if isinstance(load, str) else load
        self._keys = KeySet({})
        self._fetched = self._tried = float("-inf")
        self._lock = asyncio.Lock()
        self._cache: dict[str, Caller] = {}
        self.proofs = dpop.Seen()
        self.revoked = Revoked()
        self._withdrawals = 0

    async def _refresh(self, asked_at: float) -> None:
        async with self._lock:
            if self._tried >= asked_at:
                return
            self._tried = time.monotonic()
            try:
                keys = KeySet(await self._load())
            finally:
                # Whoever asked while this went on has his answer.
                self._tried = time.monotonic()
            self._take(keys)

    def _take(self, keys: KeySet) -> None:
        if len(keys):
            keys.drop(self.revoked.withdrawn())
            self._keys, self._fetched = keys, time.monotonic()
            self._cache.clear()

    async def warm(self) -> None:
        """Fetch the keys before the first caller comes, who would wait for it; tries until the
        issuer has some. A caller who comes meanwhile fetches for himself."""
        wait = WARM_SECONDS[0]
        while not len(self._keys):
            with contextlib.suppress(httpx.HTTPError, OSError, ValueError):
                self._take(KeySet(await self._load()))
            if not len(self._keys):
                await asyncio.sleep(wait)
                wait = min(2 * wait, WARM_SECONDS[1])

    def _heed_withdrawals(self) -> None:
        self._withdrawals = self.revoked.withdrawals
        self._keys.drop(self.revoked.withdrawn())
        self._cache.clear()

    def verify_cached(self, token: str) -> Caller | None:
        """The caller of a token seen before and still alive; no waiting, no cryptography."""
        if self._withdrawals != self.revoked.withdrawals:
            self._heed_withdrawals()
        caller = self._cache.get(token)
        if caller is None or caller.expires < time.time():
            return None
        return None if self._is_revoked(caller) else caller

    def _is_revoked(self, caller: Caller) -> bool:
        """Whether the token was taken back, or what its subject or its actor had."""
        if not len(self.revoked):
            return False
        refuses = self.revoked.refuses
        who = (caller.subject, *caller.actors)
        return any(refuses(name, caller.jti, caller.issued) for name in who)

    async def verify(self, token: str) -> Caller:
        """The caller of a valid token. Raises Unauthenticated (401), or Unavailable (503)
        while no key could ever be fetched."""
        known = self.verify_cached(token)
        if known is not None:
            return known
        now = time.monotonic()
        first = not len(self._keys) and self._lock.locked()
        if first or (
            now - self._fetched > REFRESH_SECONDS and now - self._tried > UNKNOWN_KID_SECONDS
        ):
            await self._fetch(now)
        try:
            try:
                claims = self._claims(token)
            except UnknownKey:
                wait = UNKNOWN_KID_SECONDS if len(self._keys) else 1
                if self._lock.locked():  # somebody is fetching them: many come at once at first
                    async with self._lock:
                        pass
                elif now - self._tried <= wait:
                    raise
                else:
                    await self._fetch(now)
                claims = self._claims(token)
            caller = Caller.from_claims(claims, token)
        except BadToken:
            if not len(self._keys):
                raise Unavailable(
                    "统一身份服务正在启动,请稍后重试。", "Identity is starting; try again shortly."
                ) from None
            raise _bad_token() from None
        if self._is_revoked(caller):
            raise _bad_token()
        if len(self._cache) >= CACHE_SIZE:
            self._cache.clear()
        self._cache[token] = caller
        return caller

    def _claims(self, token: str) -> dict[str, Any]:
        return self._keys.verify(token, issuer=self.issuer, audience=self._audiences)

    async def _fetch(self, now: float) -> None:
        try:
            await self._refresh(now)
        except (httpx.HTTPError, OSError, ValueError):
            if not len(self._keys):
                raise Unavailable(
                    "统一身份服务暂时无法连接,请稍后重试。",
                    "Identity cannot be reached; try again shortly.",
                ) from None


def _over_http(url: str) -> JwksLoader:
    """Loads a JWKS from an address; `file:` serves installations without an issuer near by."""

    # Loading the authorities' certificates takes some 60 ms of CPU; without TLS nobody needs them.
    # A context that knows none trusts nobody.
    tls = True if url.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    async def load() -> Mapping[str, Any]:
        if url.startswith("file:"):
            read = json.loads(Path(unquote(urlsplit(url).path)).read_bytes())
            return dict(read)
        async with httpx.AsyncClient(timeout=3, trust_env=False, verify=tls) as client:
            answer = await client.get(url)
            answer.raise_for_status()
            jwks = answer.json()
            if not isinstance(jwks, dict):
                raise ValueError("JWKS is not an object")
            return jwks

    return load


def _bad_token() -> Unauthenticated:
    return Unauthenticated(
        "登录凭证已失效。请重新登录。",
        "The access token is not valid any more. Sign in again.",
        headers={"www-authenticate": 'Bearer error="invalid_token"'},
    )


def _bad_proof() -> Unauthenticated:
    return Unauthenticated(
        "此凭证与密钥绑定,请求须附带新的 DPoP 证明。请更新应用后重试。",
        "The token is bound to a key: send a fresh DPoP proof with every request.",
        headers={"www-authenticate": 'DPoP error="invalid_dpop_proof", algs="ES256"'},
    )


async def authenticate(request: Request) -> Caller | None:
    """The caller of this request, verified once; None when no token came with it.

    A token that is bound to a key needs the scheme `DPoP` and a proof (RFC 9449), unless a
    service passes it on: its own token in `Authorization`, the caller's in `X-Beam-Caller`, a
    field that the gateway lets nobody send.
    """
    state = request.scope.setdefault("state", {})
    if "caller" not in state:
        values = _fields(request, b"authorization")
        state["caller"] = None
        if values:
            scheme, _, token = values[0].partition(" ")
            if len(values) != 1 or scheme.lower() not in ("bearer", "dpop") or not token:
                raise _bad_token()
            keyring: Keyring = request.app.state.runtime.keyring
            known = await keyring.verify(token.strip())
            if (known.jkt is not None) != (scheme.lower() == "dpop"):
                raise _bad_token()
            if known.jkt is not None:
                _check_proof(request, keyring, known)
            passed = _fields(request, b"x-beam-caller")
            if passed:
                if len(passed) != 1 or known.kind != "service":
                    raise _bad_token()
                known = replace(await keyring.verify(passed[0]), via=known.subject)
            context.actor.set(known.actor or known.subject)
            context.principal.set(known.subject if known.actors else None)
            state["caller"] = known
    caller: Caller | None = state["caller"]
    return caller


def _fields(request: Request, name: bytes) -> list[str]:
    return [v.decode("latin-1") for k, v in request.scope["headers"] if k == name]


def _check_proof(request: Request, keyring: Keyring, known: Caller) -> None:
    proofs = _fields(request, b"dpop")
    path = request.scope.get("raw_path") or request.scope["path"].encode()
    address = keyring.issuer + path.partition(b"?")[0].decode("latin-1")
    try:
        if len(proofs) != 1:
            raise BadToken("one proof")
        jkt, name = dpop.check(proofs[0], method=request.method, address=address, token=known.token)
        if jkt != known.jkt or not keyring.proofs.once(name):
            raise BadToken("jkt, or again")
    except BadToken:
        raise _bad_proof() from None
    except dpop.Full:
        raise Unavailable(
            "请求过于集中,请稍后重试。", "Too many proofs at once; try again shortly."
        ) from None


class _Scheme(HTTPBearer):
    """Names the scheme in the API reference. It reads nothing: `authenticate` does."""

    async def __call__(self) -> None:  # type: ignore[override]
        return None


_Named = Annotated[
    None, Security(_Scheme(auto_error=False, scheme_name="beam", description="ES256 access token"))
]


class Gate:
    """Lets a caller in by kind, role and level; routes use the aliases below.

    Who acts under a mandate comes in only where `mandates` says so, since there the scope of the
    mandate is checked; or passed on by a service that checked it.
    """

    def __init__(
        self,
        *,
        kinds: tuple[str, ...] = (),
        role: str | None = None,
        level: str = "L0",
        mandates: bool = False,
    ):
        self.kinds, self.role, self.level, self.mandates = kinds, role, level, mandates

    async def __call__(self, request: Request, _: _Named = None) -> Caller:
        caller = await authenticate(request)
        if caller is None:
            raise Unauthenticated(
                "此操作需要登录。请登录后重试。",
                "This needs a signed-in caller. Send an access token.",
                headers={"www-authenticate": "Bearer"},
            )
        wrong_kind = self.kinds and caller.kind not in self.kinds
        if wrong_kind or (self.role and self.role not in caller.roles):
            raise Forbidden(
                "您当前的身份不能进行此操作。请切换身份,或联系管理员。",
                "Your present role does not allow this.",
            )
        if caller.mandate is not None and not self.mandates and caller.via is None:
            raise NotMandated(
                "您正以受托人身份办事,此操作不在委托范围内。请切换为本人,或请委托人自己操作。",
                "You act under a mandate, and this is not part of it. Act as yourself, or let "
                "the principal do it.",
            )
        if LEVELS.index(caller.level) < LEVELS.index(self.level):
            needed = f'Bearer error="insufficient_user_authentication", acr_values="{self.level}"'
            raise StepUpNeeded(
                f"此操作需要 {self.level} 级实名。请完成更高等级认证后重试。",
                f"This needs authentication level {self.level}.",
                headers={"www-authenticate": needed},
            )
        return caller


class OpenDoor:
    """Says that a route is meant for everyone, signed in or not."""

    async def __call__(self) -> None:
        return None


class OwnProof:
    """Says that a route checks a proof of its own kind (signature of a channel, client secret)."""

    async def __call__(self) -> None:
        return None


Public = Annotated[None, Depends(OpenDoor())]
SignedCallback = Annotated[None, Depends(OwnProof())]
Anyone = Annotated[Caller, Depends(Gate())]
Applicant = Annotated[Caller, Depends(Gate(kinds=("person", "enterprise")))]
AnyoneOrAgent = Annotated[Caller, Depends(Gate(mandates=True))]
ApplicantOrAgent = Annotated[Caller, Depends(Gate(kinds=("person", "enterprise"), mandates=True))]
"""Whoever applies, or acts for the applicant under a mandate: the route's query checks which."""
Person = Annotated[Caller, Depends(Gate(kinds=("person",)))]
Staff = Annotated[Caller, Depends(Gate(kinds=("staff",)))]
Counter = Annotated[Caller, Depends(Gate(kinds=("staff",), role="counter"))]
Reviewer = Annotated[Caller, Depends(Gate(kinds=("staff",), role="reviewer"))]
Supervisor = Annotated[Caller, Depends(Gate(kinds=("staff",), role="supervisor"))]
Operator = Annotated[Caller, Depends(Gate(kinds=("staff",), role="operator"))]
ServiceCaller = Annotated[Caller, Depends(Gate(kinds=("service",)))]
Partner = Annotated[Caller, Depends(Gate(kinds=("partner",)))]
