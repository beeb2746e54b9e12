"""The door opens when it is known which tokens were taken back before it did."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from contracts.identity import SessionRevoked
from gateway import main
from kit import revocations
from kit.broker import STREAM, Broker, Nats
from kit.embedded import NatsCluster
from kit.outbox import seal

from .conftest import Keys, Opener, Recorder, bound, port_of, request, talk


async def test_what_was_taken_back_before_the_start_is_never_let_in(
    open_door: Opener,
    recorder: Recorder,
    keys: Keys,
    nats_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = await Broker.connect(Nats(nats_url), "identity")
    await broker.stream()
    event = SessionRevoked(what="token", ref="taken_back", until=datetime.now(UTC))
    told = seal(event, subject="rev_1", version=1)
    await broker.request(told.subject, told.body.encode())
    await broker.close()
    arrive = revocations.Watcher._arrive

    async def slowly(watcher: revocations.Watcher, msg: Any) -> None:
        await asyncio.sleep(0.3)
        await arrive(watcher, msg)

    monkeypatch.setattr(revocations.Watcher, "_arrive", slowly)
    async with open_door(recorder.port, nats_url=nats_url) as door:
        held = keys.token(jti="taken_back")
        [answer] = await talk(door.port, request(Authorization=f"Bearer {held}"))
        assert answer.status == 401
        [answer] = await talk(door.port, request(Authorization=f"Bearer {keys.token()}"))
        assert answer.status == 200


async def test_who_comes_first_keeps_events_as_often_as_the_services_would(
    open_door: Opener, recorder: Recorder
) -> None:
    """The gateway may be up before any service, and nobody changes a stream that is there."""
    cluster = NatsCluster.temporary()
    try:
        await asyncio.to_thread(cluster.start)
        async with open_door(recorder.port, nats_url=cluster.url, nats_replicas=3):
            broker = await Broker.connect(Nats(cluster.url), "identity")
            stream = await broker.api(f"STREAM.INFO.{STREAM}")
            await broker.close()
    finally:
        await asyncio.to_thread(cluster.stop)
    assert stream["config"]["num_replicas"] == 3


async def test_without_a_broker_the_door_opens_all_the_same(
    open_door: Opener, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "KNOWING_SECONDS", 0.1)
    nowhere = bound()
    async with open_door(recorder.port, nats_url=f"nats://127.0.0.1:{port_of(nowhere)}") as door:
        [answer] = await talk(door.port, request())
        assert answer.status == 200
    nowhere.close()
