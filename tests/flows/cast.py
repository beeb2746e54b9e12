"""Callers of every kind for the tests of rights and bad input.

The demonstration has a handful of accounts; rights need callers of other departments, regions and
kinds. Their tokens are signed with the platform's own signing key, read as its operator could.
"""

import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from beam.journey.stage import Place, Stage
from kit.ids import uuid7
from kit.jose import SigningKey
from kit.secrets import Vault

LEAD, HELPER, STRANGER = "SAMR", "FIRE", "MCA"
HERE, ELSEWHERE, CITY = "310115", "310104", "310000"


def _staff(
    role: str,
    dept: str = LEAD,
    region: str = HERE,
    account: str | None = None,
    items: list[str] | None = None,
) -> dict[str, Any]:
    limited = f"_{items[0].lower()}" if items else ""
    subject = account or f"stf_{role}_{dept.lower()}_{region}{limited}"
    about = {"sub": subject, "kind": "staff", "roles": [role], "dept": dept, "region": region}
    return about | ({"items": items} if items else {})


THESE_ITEMS, OTHER_ITEMS = ["A05", "T99"], ["B01", "B02"]


ROLES: dict[str, dict[str, Any] | None] = {
    "nobody": None,
    "owner": {"kind": "person"},
    "other": {"sub": "acc_lisi", "kind": "person", "acr": "L3"},
    "enterprise": {"sub": "acc_somefirm", "kind": "enterprise", "acr": "L3"},
    "counter": _staff("counter", account="stf_w01"),
    "reviewer": _staff("reviewer", account="stf_r01"),
    "supervisor": _staff("supervisor", account="stf_s01"),
    "operator": _staff("operator", account="stf_o01"),
    "helping counter": _staff("counter", HELPER),
    "helping reviewer": _staff("reviewer", HELPER, account="stf_r02"),
    "foreign counter": _staff("counter", STRANGER),
    "foreign reviewer": _staff("reviewer", STRANGER),
    "foreign supervisor": _staff("supervisor", STRANGER),
    "foreign operator": _staff("operator", STRANGER),
    "far counter": _staff("counter", LEAD, ELSEWHERE),
    "far reviewer": _staff("reviewer", LEAD, ELSEWHERE),
    "far supervisor": _staff("supervisor", LEAD, ELSEWHERE),
    "city counter": _staff("counter", LEAD, CITY),
    "city reviewer": _staff("reviewer", LEAD, CITY),
    "city supervisor": _staff("supervisor", LEAD, CITY),
    "item counter": _staff("counter", items=THESE_ITEMS),
    "item reviewer": _staff("reviewer", items=THESE_ITEMS),
    "item supervisor": _staff("supervisor", items=THESE_ITEMS),
    "other item counter": _staff("counter", items=OTHER_ITEMS),
    "other item reviewer": _staff("reviewer", items=OTHER_ITEMS),
    "other item supervisor": _staff("supervisor", items=OTHER_ITEMS),
    "province reviewer": _staff("reviewer", LEAD, "320000"),
    "service": {"sub": "svc-case", "kind": "service", "client_id": "svc-case"},
    "partner": {"sub": "dept-SAMR", "kind": "partner", "dept": LEAD},
    "foreign partner": {"sub": "dept-MCA", "kind": "partner", "dept": STRANGER},
}
"""Name → claims of its token. `owner` is the person whose objects the tests are about; `helping`
staff belong to a department with a task in the case, `foreign` to one without, `far` ones to
another district, `city` ones to the whole city, a `province` one to another province; `item` ones
are limited to the story's items, `other item` ones to others."""


@dataclass
class Cast:
    """The platform, its folder, and a client for each kind of caller."""

    place: Place
    stage: Stage
    data: Path
    run: dict[str, Any]
    client: httpx.AsyncClient
    owner: str = ""
    """Account id of the person whose objects the tests are about."""
    _key: SigningKey | None = None

    @classmethod
    @contextlib.asynccontextmanager
    async def of(cls, place: Place, data: Path) -> AsyncIterator["Cast"]:
        run = json.loads((data / "run.json").read_text())
        # A server ends a connection after five idle seconds, perhaps just when it is used again.
        limits = httpx.Limits(max_connections=24, max_keepalive_connections=24, keepalive_expiry=2)
        stage = Stage(place)
        async with httpx.AsyncClient(timeout=30, trust_env=False, limits=limits) as client:
            cast = cls(place, stage, data, run, client)
            async with cast.database("identity") as database:
                row = await database.fetchrow(
                    "select kid, pem from signing_key where state = 'current'"
                )
            pem = cast.vault("identity").open(row["pem"], bound_to=f"signing_key|pem|{row['kid']}")
            cast._key = SigningKey(pem.encode())
            try:
                yield cast
            finally:
                await stage.close()

    async def again(self, method: str, url: str, **what: Any) -> httpx.Response:
        """The answer, asked for twice when the first was broken off. A connection that the client's
        pool has given out, and then finds idle for too long, it closes under the request (httpcore
        1.0: six of 4,800 requests to a server that never closes any, with a limit of 20 ms); a
        server that breaks off does so again."""
        try:
            return await self.client.request(method, url, **what)
        except httpx.ReadError:
            return await self.client.request(method, url, **what)

    @contextlib.asynccontextmanager
    async def database(self, service: str) -> AsyncIterator[Any]:
        """A connection to a service's database, with the service's own least-rights role."""
        connection = await asyncpg.connect(self.run["postgres"][service])
        try:
            yield connection
        finally:
            await connection.close()

    def vault(self, service: str) -> Vault:
        return Vault.from_file(self.data / "vault" / f"{service}.json")

    async def account_id(self, phone: str) -> str:
        """The account that was registered with this telephone number."""
        index = self.vault("identity").index(f"phone|{phone}")
        async with self.database("identity") as database:
            found = await database.fetchval("select id from account where phone_index = $1", index)
        return str(found)

    def token(self, role: str, **claims: Any) -> str:
        """A fresh access token of this role."""
        assert self._key is not None
        now = int(time.time())
        base = {
            "iss": self.place.gateway,
            "aud": "beam",
            "jti": uuid7().hex,
            "iat": now,
            "exp": now + 900,
            "acr": "L2",
            "client_id": "demo-app",
            "scope": "openid",
        }
        known = ROLES[role]
        assert known is not None
        subject = {"sub": self.owner} if role == "owner" else {}
        return self._key.sign({**base, **subject, **known, **claims}, "at+jwt")

    def headers(self, role: str) -> dict[str, str]:
        """The Authorization header of this role; none for nobody."""
        if ROLES[role] is None:
            return {}
        return {"authorization": f"Bearer {self.token(role)}"}

    def logs(self) -> dict[str, str]:
        """Every log file of the platform with what it says until now."""
        files = [*(self.data / "logs").iterdir(), self.data / "nats" / "nats.log"]
        files.append(self.data.parent / f"{self.data.name}.log")
        return {file.name: file.read_text(errors="replace") for file in files}
