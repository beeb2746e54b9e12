"""What several targets stand on: servers of their own, a citizen's token, a service on the kit."""

import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from sqlalchemy import MetaData

from kit.auth import AUDIENCE
from kit.db import KitBase, open_engine
from kit.embedded import NatsServer, PostgresServer
from kit.ids import uuid7
from kit.jose import SigningKey
from kit.secrets import Vault

from .harness import Bench, Started
from .peers import kit_service

ISSUER = "http://beam.bench"
SCHEME = "postgresql+asyncpg"


def headers(folder: Path) -> dict[str, str]:
    """What an app of a citizen sends. The public key of the token goes into `folder/jwks.json`."""
    key = SigningKey(SigningKey.generate())
    (folder / "jwks.json").write_text(json.dumps({"keys": [key.public_jwk]}))
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "acc_bench", "jti": uuid7().hex, "iat": now}
    claims |= {"exp": now + 900, "kind": "person", "acr": "L3", "client_id": "portal"}
    claims |= {"scope": "openid"}
    return {
        "Authorization": f"Bearer {key.sign(claims, 'at+jwt')}",
        "Accept": "application/json",
        "Accept-Language": "zh-CN,zh;q=0.9",
        "User-Agent": "BeamApp/2.1 (iPhone; iOS 19.1)",
        "X-Device-Id": "5f2b6f0e-9d6c-4c3c-8f6e-0a1b2c3d4e5f",
    }


def gateway(
    bench: Bench, nats: str = "", *, tested: bool | None = True, **services: int
) -> Started:
    """The beam in front of `services` (name → port). Its limits work, only nobody reaches them."""
    port = bench.free_port()
    env = {
        "BEAM_GATEWAY_PORT": str(port),
        "BEAM_ISSUER": ISSUER,
        "BEAM_JWKS_URL": (bench.folder / "jwks.json").as_uri(),
        "BEAM_GATEWAY_RATE": "100000000",
        "BEAM_GATEWAY_BURST": "100000000",
        # Every request is to be answered, however slow a neighbour makes us.
        "BEAM_GATEWAY_QUEUE_SECONDS": "60",
        "BEAM_NATS_URL": nats,
        **{f"BEAM_{name.upper()}_URL": f"http://127.0.0.1:{at}" for name, at in services.items()},
    }
    command = [sys.executable, "-m", "gateway.server"]
    return bench.start("beam", command, port, tested=tested, env=env)


def plain_proxy(bench: Bench, service: int) -> Started:
    port = bench.free_port()
    upstream, keys = f"http://127.0.0.1:{service}", str(bench.folder / "jwks.json")
    command = [sys.executable, "-m", "bench.peers.plain_proxy", str(port), upstream, keys, ISSUER]
    return bench.start("plain", command, port, tested=True)


@dataclass
class Ground:
    """A database with the tables of `peers.kit_service`, and a broker."""

    bench: Bench
    postgres: PostgresServer
    nats: NatsServer

    @property
    def dsn(self) -> str:
        return self.postgres.dsn("bench")

    async def database(self, name: str, tables: MetaData) -> str:
        """Make it, with the kit's tables and these; returns its DSN."""
        admin = await asyncpg.connect(self.postgres.dsn())
        await admin.execute(f"create database {name}")
        await admin.close()
        engine = open_engine(self.postgres.dsn(name, scheme=SCHEME))
        async with engine.begin() as connection:
            for metadata in (KitBase.metadata, tables):
                await connection.run_sync(metadata.create_all)
        await engine.dispose()
        return self.postgres.dsn(name)

    def kit_service(self, *, tested: bool | None = True) -> Started:
        """Our service; `url` ends with its port."""
        vault = self.bench.folder / "vault.json"
        if not vault.exists():
            vault.write_text(json.dumps(Vault.new_document()))
        port = self.bench.free_port()
        command = [sys.executable, "-m", "bench.peers.kit_service", str(port)]
        command += [self.postgres.dsn("bench", scheme=SCHEME), self.nats.url]
        command += [str(self.bench.folder / "jwks.json"), str(vault), ISSUER]
        return self.bench.start("kit", command, port, tested=tested)

    def plain_service(self, *, tested: bool = True) -> Started:
        port = self.bench.free_port()
        command = [sys.executable, "-m", "bench.peers.plain_service", str(port)]
        command += [self.postgres.dsn("bench", scheme=SCHEME)]
        return self.bench.start("plain", command, port, tested=tested)

    async def check_books(self) -> None:
        """Every matter has its event and its key, whatever the load did to them."""
        connection = await asyncpg.connect(self.dsn)
        try:
            counts = await connection.fetchrow(
                "select (select count(*) from matter) as matters, "
                "(select count(*) from outbox) as events, "
                "(select count(*) from idempotency_key where status = 201) as keys"
            )
        finally:
            await connection.close()
        if len(set(counts.values())) != 1:
            raise RuntimeError(f"the books do not hold: {dict(counts)}")


@contextlib.asynccontextmanager
async def servers(bench: Bench) -> AsyncIterator[Ground]:
    """Real PostgreSQL and NATS with every sync that the product uses; ended afterwards."""
    with PostgresServer.temporary() as postgres, NatsServer.temporary() as nats:
        place = Ground(bench, postgres, nats)
        await place.database("bench", kit_service.Base.metadata)
        yield place


@contextlib.contextmanager
def broker() -> Iterator[str]:
    """The address of a broker that everybody may use."""
    with NatsServer.temporary() as server:
        yield server.url


def port_of(program: Started) -> int:
    return int(program.url.rpartition(":")[2])
