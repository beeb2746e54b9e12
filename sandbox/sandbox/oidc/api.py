"""`/oidc`: an OpenID provider that knows the citizens of the sandbox and agrees for them.

As strict as a real one: exact redirect address, PKCE S256, a code once and for a minute, the
client's secret. `/_sim/oidc/citizen` says who sits in front of the browser; `/_sim/oidc/faults`
what is wrong with the next answers.
"""

import base64
import hashlib
import hmac
import json
import secrets
import time
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, RedirectResponse, Response

from .. import faults
from ..book import Book
from ..keys import OidcSide

CODE_SECONDS = 60
Wrong = Literal[
    "issuer",
    "audience",
    "azp",
    "no_azp",
    "nonce",
    "expired",
    "future",
    "subject",
    "signature",
    "unknown_key",
    "none",
    "hs256",
    "es256_as_rs256",
    "key_in_header",
    "no_id_token",
    "deny",
    "iss_parameter",
    "state",
]


class Citizen(BaseModel):
    """Who sits in front of the browser; `id_number` None: the provider does not tell it."""

    sub: str = "upstream-zhangsan"
    name: str = "张三"
    id_number: str | None = "310115199003077411"
    acr: str = "LOA3"


class Trouble(BaseModel):
    """What is wrong with the next `times` answers."""

    wrong: Wrong
    times: int = Field(default=1, ge=1, le=1000)


@dataclass
class Code:
    citizen: Citizen
    challenge: str
    nonce: str | None
    ends: float


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def number(value: int, size: int) -> str:
    return b64(value.to_bytes(size, "big"))


class Room:
    """The provider and its control as one router."""

    def __init__(
        self, side: OidcSide, book: Book, *, base_url: str, redirect_uri: str, hang_seconds: float
    ) -> None:
        self._side, self._book, self._redirect_uri = side, book, redirect_uri
        self._issuer, self._hang_seconds = f"{base_url}/oidc", hang_seconds
        self._ec = ec.generate_private_key(ec.SECP256R1())
        self._rsa = rsa.generate_private_key(65537, 2048)
        self._alg: Literal["ES256", "RS256"] = "ES256"
        self._citizen = Citizen()
        self._codes: dict[str, Code] = {}
        self._wrong: list[str] = []
        self.router = APIRouter()
        add = self.router.add_api_route
        add("/oidc/.well-known/openid-configuration", self.metadata, methods=["GET"])
        add("/oidc/jwks", self.keys, methods=["GET"])
        add("/oidc/authorize", self.authorize, methods=["GET"])
        add("/oidc/token", self.token, methods=["POST"])
        add("/_sim/oidc/citizen", self.put_citizen, methods=["POST"], status_code=204)
        add("/_sim/oidc/wrong", self.plan_wrong, methods=["POST"], status_code=204)
        add("/_sim/oidc/algorithm", self.sign_with, methods=["POST"], status_code=204)
        add("/_sim/oidc/faults", self.plan_fault, methods=["POST"], status_code=204)
        add("/_sim/oidc/faults", self.clear, methods=["DELETE"], status_code=204)

    async def metadata(self, request: Request) -> Response:
        """OpenID Connect Discovery."""
        if trouble := await self._fault(request, "metadata"):
            return trouble
        return JSONResponse(
            {
                "issuer": self._issuer,
                "authorization_endpoint": f"{self._issuer}/authorize",
                "token_endpoint": f"{self._issuer}/token",
                "jwks_uri": f"{self._issuer}/jwks",
                "response_types_supported": ["code"],
                "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["ES256", "RS256"],
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": ["client_secret_post"],
            }
        )

    async def keys(self, request: Request) -> Response:
        """Both public keys."""
        if trouble := await self._fault(request, "keys"):
            return trouble
        point, public = self._ec.public_key().public_numbers(), self._rsa.public_key()
        elliptic = {"x": number(point.x, 32), "y": number(point.y, 32)}
        modulus = {"n": number(public.public_numbers().n, 256), "e": "AQAB"}
        return JSONResponse(
            {
                "keys": [
                    {"kty": "EC", "crv": "P-256", "kid": "e1", "use": "sig", **elliptic},
                    {"kty": "RSA", "kid": "r1", "use": "sig", "alg": "RS256", **modulus},
                ]
            }
        )

    async def authorize(self, request: Request) -> Response:
        """The citizen agrees at once."""
        if trouble := await self._fault(request, "authorize"):
            return trouble
        sent = dict(request.query_params)
        right = (
            sent.get("client_id") == self._side.client_id
            and sent.get("redirect_uri") == self._redirect_uri
        )
        if not right:
            return JSONResponse({"error": "invalid_request"}, 400)
        back = {"state": sent.get("state", ""), "iss": self._issuer}
        openid = "openid" in sent.get("scope", "").split()
        strict = sent.get("code_challenge_method") == "S256" and sent.get("code_challenge")
        if sent.get("response_type") != "code" or not openid or not strict:
            return self._to({**back, "error": "invalid_request"})
        if self._takes("deny"):
            return self._to({**back, "error": "access_denied"})
        code = secrets.token_urlsafe(24)
        self._codes[code] = Code(
            self._citizen, sent["code_challenge"], sent.get("nonce"), time.time() + CODE_SECONDS
        )
        if self._takes("iss_parameter"):
            back["iss"] = "https://evil.example"
        if self._takes("state"):
            back["state"] = "another"
        return self._to({**back, "code": code})

    def _to(self, query: dict[str, str]) -> Response:
        return RedirectResponse(f"{self._redirect_uri}?{urlencode(query)}", 303)

    async def token(self, request: Request) -> Response:
        """A code for an id_token."""
        if trouble := await self._fault(request, "token"):
            return trouble
        sent = dict(parse_qsl((await request.body()).decode()))
        secret = sent.get("client_secret", "")
        proven = hmac.compare_digest(secret.encode(), self._side.client_secret.encode())
        if sent.get("client_id") != self._side.client_id or not proven:
            return JSONResponse({"error": "invalid_client"}, 401)
        code = self._codes.pop(sent.get("code", ""), None)
        digest = b64(hashlib.sha256(sent.get("code_verifier", "").encode()).digest())
        good = (
            code is not None
            and code.ends > time.time()
            and code.challenge == digest
            and sent.get("redirect_uri") == self._redirect_uri
            and sent.get("grant_type") == "authorization_code"
        )
        if code is None or not good:
            return JSONResponse({"error": "invalid_grant"}, 400)
        answer: dict[str, Any] = {
            "access_token": secrets.token_urlsafe(24),
            "token_type": "Bearer",
            "expires_in": 300,
        }
        if not self._takes("no_id_token"):
            answer["id_token"] = self._id_token(code)
        return JSONResponse(answer, headers={"cache-control": "no-store"})

    def _id_token(self, code: Code) -> str:
        at = int(time.time())
        told = code.citizen.model_dump(exclude_none=True)
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": self._side.client_id,
            "iat": at,
            "exp": at + 300,
            "nonce": code.nonce,
            **told,
        }
        if self._takes("issuer"):
            claims["iss"] = "https://evil.example"
        if self._takes("audience"):
            claims["aud"] = "somebody-else"
        if self._takes("azp"):
            claims |= {"aud": [self._side.client_id, "other"], "azp": "other"}
        if self._takes("no_azp"):
            claims["aud"] = [self._side.client_id, "other"]
        if self._takes("nonce"):
            claims["nonce"] = "another"
        if self._takes("expired"):
            claims |= {"iat": at - 1000, "exp": at - 600}
        if self._takes("future"):
            claims |= {"iat": at + 600, "exp": at + 900}
        if self._takes("subject"):
            claims["sub"] = ""
        return self._signed(claims)

    def _signed(self, claims: dict[str, Any]) -> str:
        alg = self._alg
        head: dict[str, Any] = {"alg": alg, "kid": "e1" if alg == "ES256" else "r1"}
        if self._takes("unknown_key"):
            head["kid"] = "x9"
        if self._takes("key_in_header"):
            head["jku"] = "https://evil.example/keys"
        if self._takes("none"):
            head["alg"] = "none"
            return f"{self._parts(head, claims)}."
        if self._takes("hs256"):
            head["alg"] = "HS256"
            text = self._parts(head, claims)
            secret = self._side.client_secret.encode()
            return f"{text}.{b64(hmac.digest(secret, text.encode(), 'sha256'))}"
        if self._takes("es256_as_rs256"):
            head |= {"alg": "RS256", "kid": "e1"}
        text = self._parts(head, claims)
        if alg == "RS256":
            raw = self._rsa.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        else:
            der = self._ec.sign(text.encode(), ec.ECDSA(hashes.SHA256()))
            r, s = utils.decode_dss_signature(der)
            raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        if self._takes("signature"):
            raw = bytes([raw[0] ^ 1]) + raw[1:]
        return f"{text}.{b64(raw)}"

    def _parts(self, head: dict[str, Any], claims: dict[str, Any]) -> str:
        return ".".join(b64(json.dumps(part).encode()) for part in (head, claims))

    def _takes(self, wrong: str) -> bool:
        if wrong in self._wrong:
            self._wrong.remove(wrong)
            return True
        return False

    async def _fault(self, request: Request, call: str) -> Response | None:
        fault = faults.take(self._book, "oidc", call)
        if fault is None:
            return None
        if fault[0] == "timeout":
            return await faults.hang(request, self._hang_seconds)
        return JSONResponse({"error": "server_error"}, 500 if fault[0] == "500" else 429)

    async def put_citizen(self, citizen: Citizen) -> None:
        """Who sits there from now on."""
        self._citizen = citizen

    async def plan_wrong(self, trouble: Trouble) -> None:
        """What is wrong with the next answers."""
        self._wrong += [trouble.wrong] * trouble.times

    async def sign_with(self, alg: Literal["ES256", "RS256"]) -> None:
        """Sign with the other key from now on: `?alg=RS256`."""
        self._alg = alg

    async def plan_fault(self, fault: faults.Fault) -> None:
        """What the next calls shall suffer: metadata, keys, authorize, token, any."""
        faults.plan(self._book, "oidc", fault)

    async def clear(self) -> None:
        """Nothing is wrong any more."""
        self._wrong.clear()
        faults.clear(self._book, "oidc")
