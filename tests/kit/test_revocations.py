"""What was taken back is refused everywhere within seconds, and what is remembered has an end."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from identity_svc import families
from kit import revocations
from kit.broker import STREAM, Nats
from kit.embedded.nats import NatsServer
from kit.ids import new_id, uuid7
from kit.revocations import Revoked
from kit.testing import Ground, Running, until


@pytest.fixture(scope="module")
async def identity(ground: Ground, nats_url: str) -> AsyncIterator[Running]:
    async with ground.service("identity_svc", nats=nats_url) as running:
        yield running


async def tell(identity: Running, what: Any, ref: str) -> None:
    async with identity.runtime.sessions.begin() as session:
        families.tell(session, what, ref)


async def test_a_running_and_a_later_service_refuse(
    ground: Ground, nats_url: str, identity: Running
) -> None:
    mine = ground.person("acc_1", jti="fam_1.a")
    other = ground.person("acc_1", jti="fam_2.a")
    path = "/v1/payments"

    async def refused(service: Running, headers: dict[str, str]) -> bool:
        return (await service.client.get(path, headers=headers)).status_code == 401

    async with ground.service("payment_svc", nats=nats_url) as running:
        assert not await refused(running, mine)
        await tell(identity, "family", "fam_1")
        await until(lambda: refused(running, mine))
        assert not await refused(running, other)
        await tell(identity, "token", "fam_2.a")
        await until(lambda: refused(running, other))
        assert not await refused(running, ground.person("acc_1", jti="fam_2.b"))
    async with ground.service("payment_svc", nats=nats_url) as later:
        await until(lambda: refused(later, mine))
        await until(lambda: refused(later, other))
        answer = await later.client.get(path, headers=mine)
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


async def test_a_program_without_a_bus_follows(nats_url: str, identity: Running) -> None:
    revoked = Revoked()
    task = asyncio.create_task(revocations.follow(Nats(nats_url), "gateway", revoked.note))
    try:
        await tell(identity, "account", "acc_9")

        async def known() -> bool:
            return revoked.refuses("acc_9", "fam_9.a", int(time.time()) - 60)

        await until(known)
        assert not revoked.refuses("acc_9", "fam_9.b", int(time.time()) + 60)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("lost", [(0,), (1,), (0, 1)])
async def test_what_got_lost_on_the_way_is_heard_all_the_same(
    nats_url: str, identity: Running, monkeypatch: pytest.MonkeyPatch, lost: tuple[int, ...]
) -> None:
    """As a client library drops what comes too fast, or a connection swallows it: the last one
    too, after which nothing comes that would show a gap."""
    revoked, data, names = Revoked(), 0, [new_id("fam"), new_id("fam")]
    arrive = revocations.Watcher._arrive

    async def lossy(watcher: revocations.Watcher, msg: Any) -> None:
        nonlocal data
        if msg.data and any(name.encode() in msg.data for name in names):
            data += 1
            if data - 1 in lost:
                return
        await arrive(watcher, msg)

    monkeypatch.setattr(revocations.Watcher, "_arrive", lossy)
    heard = asyncio.Event()
    following = revocations.follow(Nats(nats_url), "gateway", revoked.note, heard)
    task = asyncio.create_task(following)
    try:
        await heard.wait()
        for name in names:
            await tell(identity, "family", name)

        async def all_known() -> bool:
            return all(revoked.refuses("x", f"{name}.a", 0) for name in names)

        await until(all_known)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_who_begins_to_listen_says_when_it_knows_all(
    nats_url: str, identity: Running
) -> None:
    names = [new_id("fam") for _ in range(30)]
    for name in names:
        await tell(identity, "family", name)

    async def published() -> bool:
        await identity.runtime.bus.sample()
        return bool(identity.runtime.bus.health()["unsent"] == 0)

    await until(published)
    for _ in range(5):
        revoked, heard = Revoked(), asyncio.Event()
        task = asyncio.create_task(
            revocations.follow(Nats(nats_url), "gateway", revoked.note, heard)
        )
        try:
            await heard.wait()
            assert all(revoked.refuses("x", f"{name}.a", 0) for name in names)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_it_hears_again_when_its_consumer_is_gone(nats_url: str, identity: Running) -> None:
    revoked, heard = Revoked(), asyncio.Event()
    following = revocations.follow(Nats(nats_url), "gateway", revoked.note, heard)
    task = asyncio.create_task(following)
    try:
        await heard.wait()
        broker = identity.runtime.bus.broker
        for name in (await broker.api(f"CONSUMER.NAMES.{STREAM}"))["consumers"]:
            if name.startswith("gateway__live-"):
                await broker.api(f"CONSUMER.DELETE.{STREAM}.{name}")
        await tell(identity, "family", "fam_7")

        async def known() -> bool:
            return revoked.refuses("x", "fam_7.a", 0)

        await until(known)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_it_hears_again_when_the_connection_was_lost(ground: Ground) -> None:
    with NatsServer.temporary() as server:
        async with (
            ground.service("payment_svc", nats=server.url) as running,
            ground.service("identity_svc", nats=server.url) as identity,
        ):

            async def connected() -> bool:
                return running.runtime.bus.connected

            await until(connected)
            await running.runtime.bus.broker.close()
            await tell(identity, "family", "fam_3")

            async def refused() -> bool:
                headers = ground.person("acc_3", jti="fam_3.a")
                answer = await running.client.get("/v1/payments", headers=headers)
                return answer.status_code == 401

            await until(refused)


def test_memory_ends_by_time_and_by_number(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    at = time.time()
    monkeypatch.setattr(time, "time", lambda: at)
    revoked = Revoked(most=3)
    for name in "abc":
        revoked.note("family", name, at)
    assert len(revoked) == 3
    with caplog.at_level(logging.WARNING):
        revoked.note("family", "d", at)
    assert "forgotten" in caplog.text
    assert len(revoked) == 3
    assert not revoked.refuses("x", "a.1", 0)
    assert revoked.refuses("x", "d.1", 0)
    assert not revoked.refuses("x", "d", 0)
    at += revocations.REMEMBERED_SECONDS + 1
    revoked.note("token", "t", at)
    assert len(revoked) == 1
    assert revoked.refuses("x", "t", int(at))


def test_an_older_event_does_not_weaken_a_newer_one() -> None:
    revoked = Revoked()
    at = time.time()
    revoked.note("account", "acc_1", at)
    revoked.note("account", "acc_1", at - 100)
    assert revoked.refuses("acc_1", "j", int(at) - 10)
    assert not revoked.refuses("acc_1", "j", int(at) + 1)


def test_who_signs_in_right_after_all_was_taken_back_is_let_in() -> None:
    before = new_id("fam")
    time.sleep(0.002)
    at = time.time()
    revoked = Revoked()
    revoked.note("account", "acc_1", at)
    time.sleep(0.002)
    after = new_id("fam")
    assert revoked.refuses("acc_1", f"{before}.a", int(at))
    assert revoked.refuses("acc_1", f"{before}.a", int(at) + 60), "an old family does not go on"
    assert not revoked.refuses("acc_1", f"{after}.a", int(at))
    assert revoked.refuses("acc_1", uuid7().hex, int(at)), "without a family whole seconds count"
    assert revoked.refuses("acc_1", "fam_9.a", int(at))


def test_a_token_of_the_very_second_is_refused_too() -> None:
    """It says whole seconds alone: what may be older than the revocation counts as older."""
    known = Revoked()
    known.note("account", "acc_1", 1_800_000_000)
    assert known.refuses("acc_1", "no-family", 1_800_000_000)
    assert not known.refuses("acc_1", "no-family", 1_800_000_001)
