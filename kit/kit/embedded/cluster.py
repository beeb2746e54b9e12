"""Three nats-servers on loopback that keep every event three times, as a city would run them on
three machines: one may be lost, and nothing is."""

import json
import shutil
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, Self

from .nats import Member, NatsServer
from .process import EmbeddedError, free_port

SIZE = 3


class NatsCluster:
    """`url` names all servers; stop or kill one of `servers` and the others go on."""

    def __init__(self, folder: Path, accounts: str = "") -> None:
        self._folder: Path | None = None
        ports = [free_port() for _ in range(SIZE)]
        self.servers = [
            NatsServer(
                folder / f"nats-{number}",
                accounts,
                member=Member(
                    f"one-beam-{number}", port, tuple(other for other in ports if other != port)
                ),
            )
            for number, port in enumerate(ports, start=1)
        ]

    @classmethod
    def temporary(cls, accounts: str = "") -> Self:
        """A cluster for a test run; `stop` removes its files."""
        folder = Path(tempfile.mkdtemp(prefix="beam-nats-"))
        cluster = cls(folder, accounts)
        cluster._folder = folder
        return cluster

    @property
    def url(self) -> str:
        return ",".join(server.url for server in self.servers)

    def start(self, patience: float = 60.0) -> str:
        """Start all and wait until they have a leader and everybody is there; returns the url.

        Raises EmbeddedError when one does not come up or they do not find each other."""
        for server in self.servers:
            server.start(patience)
        self.wait(patience)
        return self.url

    def wait(self, patience: float = 60.0) -> None:
        """Until all servers follow one leader and hold the same. Raises EmbeddedError."""
        end = time.monotonic() + patience
        while not self._whole():
            if time.monotonic() > end:
                raise EmbeddedError(
                    "NATS 集群未能组成,请看各节点的 nats.log。",
                    "The NATS cluster does not come together: see nats.log of each server.",
                )
            time.sleep(0.1)

    def leader(self) -> NatsServer:
        """The server that leads JetStream at this moment. Raises EmbeddedError while there is
        none."""
        for server in self.servers:
            name = _jetstream(server).get("leader")
            for candidate in self.servers:
                if candidate.name == name:
                    return candidate
        raise EmbeddedError("NATS 集群没有主节点", "The NATS cluster has no leader")

    def stop(self) -> None:
        for server in reversed(self.servers):
            server.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _whole(self) -> bool:
        told = {server.name: _jetstream(server) for server in self.servers}
        leaders = {str(meta.get("leader", "")) for meta in told.values()}
        if len(leaders) != 1 or leaders == {""}:
            return False
        # Only the leader knows how far the others are; one that has just become it not yet.
        others = told[leaders.pop()].get("replicas") or []
        if len(others) != SIZE - 1 or any(o.get("offline") or not o["current"] for o in others):
            return False
        return all(_answer(server, "healthz").get("status") == "ok" for server in self.servers)


def _jetstream(server: NatsServer) -> dict[str, Any]:
    return _answer(server, "jsz").get("meta_cluster") or {}


def _answer(server: NatsServer, page: str) -> dict[str, Any]:
    try:
        # The address of a broker that we started ourselves.
        with urllib.request.urlopen(f"{server.monitor_url}/{page}", timeout=2) as answer:  # nosec B310
            return dict(json.load(answer))
    except OSError:
        return {}
