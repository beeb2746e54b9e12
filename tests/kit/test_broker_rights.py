"""Least rights at a real broker: what is its own works, everything else is refused."""

import asyncio
import contextlib
import json
import runpy
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import nats
import nats.errors
import pytest
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig

from kit import revocations
from kit.broker import Broker, Nats
from kit.broker_config import (
    DepartmentUser,
    ServiceUser,
    accounts_config,
    inbox_prefix,
)
from kit.embedded import EmbeddedError, NatsServer

ROOT = Path(__file__).parents[2]
CASE = ServiceUser("case", "pw$case", durables=("case__paid",))
PAYMENT = ServiceUser("payment", "pw-payment", durables=("payment__fee_due",))
EXCHANGE = ServiceUser("exchange", "pw-exchange", manages=("dept_TAX", "dept_FIRE"))
GATEWAY = ServiceUser("gateway", "pw-gateway", publishes=False, listens=("evt.catalog.>",))
HELPDESK = ServiceUser("helpdesk", "pw-helpdesk", follows=(revocations.SUBJECT,))
OPERATOR = ServiceUser("operator", "pw-operator", publishes=False, operates=True)
TAX, FIRE = DepartmentUser("TAX", "pw-tax"), DepartmentUser("FIRE", "pw-fire")


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    accounts = accounts_config([CASE, PAYMENT, EXCHANGE, GATEWAY, HELPDESK, OPERATOR], [TAX, FIRE])
    with NatsServer.temporary(accounts) as running:
        yield running


class Connection:
    """A client and what the broker refused it."""

    def __init__(self, client: Client, refused: list[str]) -> None:
        self.client = client
        self.refused = refused
        self.js = client.jetstream(timeout=1.0)

    async def is_refused(self, subject: str, body: bytes = b"") -> bool:
        """Publish and see whether the broker says 'Permissions Violation' for that subject."""
        self.refused.clear()
        await self.client.publish(subject, body)
        await self.client.flush()
        await asyncio.sleep(0.02)  # the error call-back is a task of its own
        return any("permissions violation" in r and subject.lower() in r for r in self.refused)

    async def may_not_hear(self, subject: str) -> bool:
        self.refused.clear()
        sub = await self.client.subscribe(subject)
        await self.client.flush()
        await asyncio.sleep(0.02)
        await sub.unsubscribe()
        return any("permissions violation" in r for r in self.refused)


async def _connect(server: NatsServer, user: str, password: str, prefix: str) -> Connection:
    refused: list[str] = []

    async def on_error(error: Exception) -> None:
        refused.append(str(error).lower())

    client = await nats.connect(
        server.url,
        user=user,
        password=password,
        inbox_prefix=prefix,
        allow_reconnect=False,
        error_cb=on_error,
    )
    return Connection(client, refused)


@pytest.fixture(scope="module")
async def who(server: NatsServer) -> AsyncIterator[dict[str, Connection]]:
    people: dict[str, Connection] = {}
    for service in (CASE, PAYMENT, EXCHANGE, GATEWAY, OPERATOR):
        people[service.name] = await _connect(
            server, service.name, service.password, inbox_prefix(service.name)
        )
    for dept in (TAX, FIRE):
        people[dept.code] = await _connect(server, dept.user, dept.password, dept.inbox_prefix)
    await people["case"].js.add_stream(StreamConfig(name="EVENTS", subjects=["evt.>"]))
    for dept in (TAX, FIRE):
        await people["exchange"].js.add_consumer(
            "EVENTS",
            ConsumerConfig(
                durable_name=dept.durable,
                filter_subject=f"evt.*.*.*.*.{dept.code}",
                ack_policy=AckPolicy.EXPLICIT,
            ),
        )
    yield people
    for person in people.values():
        await person.client.close()


async def test_a_service_publishes_its_own_events_and_pulls_its_own_durable(
    who: dict[str, Connection],
) -> None:
    ack = await who["payment"].js.publish("evt.payment.paid.v1._._", b"{}")
    assert ack.stream == "EVENTS"
    await who["case"].js.add_consumer(
        "EVENTS",
        ConsumerConfig(
            durable_name="case__paid",
            filter_subject="evt.payment.paid.v1.>",
            ack_policy=AckPolicy.EXPLICIT,
        ),
    )
    sub = await who["case"].js.pull_subscribe_bind("case__paid", "EVENTS")
    (message,) = await sub.fetch(1, timeout=2)
    await message.ack_sync(timeout=2)
    info = await who["case"].js.consumer_info("EVENTS", "case__paid")
    assert info.num_ack_pending == 0
    assert not who["case"].refused


async def test_an_operator_sees_how_events_are_kept_and_no_event(
    who: dict[str, Connection],
) -> None:
    operator = who["operator"]
    info = await operator.js.stream_info("EVENTS")
    await operator.js.update_stream(info.config)
    assert not operator.refused
    for subject in (
        "evt.case.filed.v1._._",
        "$JS.API.STREAM.DELETE.EVENTS",
        "$JS.API.STREAM.PURGE.EVENTS",
        "$JS.API.STREAM.MSG.GET.EVENTS",
        "$JS.API.CONSUMER.MSG.NEXT.EVENTS.case__paid",
        "$JS.API.CONSUMER.DELETE.EVENTS.case__paid",
    ):
        assert await operator.is_refused(subject), subject
    assert await operator.may_not_hear("evt.>")


async def test_a_service_may_touch_nothing_foreign(who: dict[str, Connection]) -> None:
    case = who["case"]
    for subject in (
        "evt.payment.paid.v1._._",
        "evt.case",
        "$JS.API.STREAM.DELETE.EVENTS",
        "$JS.API.STREAM.PURGE.EVENTS",
        "$JS.API.STREAM.UPDATE.EVENTS",
        "$JS.API.STREAM.MSG.GET.EVENTS",
        "$JS.API.STREAM.MSG.DELETE.EVENTS",
        "$JS.API.STREAM.CREATE.OTHER",
        "$JS.API.CONSUMER.CREATE.EVENTS",
        "$JS.API.CONSUMER.CREATE.EVENTS.payment__fee_due.evt.case.>",
        "$JS.API.CONSUMER.DELETE.EVENTS.case__paid",
        "$JS.API.CONSUMER.MSG.NEXT.EVENTS.payment__fee_due",
        "$JS.API.CONSUMER.MSG.NEXT.EVENTS.dept_TAX",
        "$JS.ACK.EVENTS.payment__fee_due.1.1.1.1.1",
        "_INBOX_payment.x",
    ):
        assert await case.is_refused(subject), subject
    for subject in ("evt.>", ">", "_INBOX_payment.>", "_INBOX.>", "$JS.ACK.>"):
        assert await case.may_not_hear(subject), subject
    assert await who["gateway"].is_refused("evt.gateway.x.v1._._")


async def test_a_consumer_cannot_be_made_to_publish_for_its_owner(
    who: dict[str, Connection],
) -> None:
    """Deliveries of a push consumer carry no user's rights: none may go where events are."""
    config = {
        "durable_name": "payment__fee_due",
        "name": "payment__fee_due",
        "deliver_subject": "evt.case.submitted.v1._._",
        "filter_subject": "evt.payment.paid.v1.>",
    }
    body = {"stream_name": "EVENTS", "config": config, "action": "create"}
    answer = await who["payment"].client.request(
        "$JS.API.CONSUMER.CREATE.EVENTS.payment__fee_due.evt.payment.paid.v1.>",
        json.dumps(body).encode(),
    )
    assert "cycle" in json.loads(answer.data)["error"]["description"]


async def test_a_department_pulls_and_acknowledges_its_own_durable(
    who: dict[str, Connection],
) -> None:
    for n in range(3):
        await who["case"].js.publish("evt.case.submitted.v1.310101.TAX", str(n).encode())
    await who["case"].js.publish("evt.case.submitted.v1.310101.FIRE", b"not yours")
    tax = who["TAX"]
    tax.refused.clear()
    sub = await tax.js.pull_subscribe_bind("dept_TAX", "EVENTS")
    got = []
    for message in await sub.fetch(10, timeout=2):
        got.append(message.data)
        await message.ack_sync(timeout=2)
    assert got == [b"0", b"1", b"2"]
    with pytest.raises(nats.errors.TimeoutError):
        await sub.fetch(1, timeout=0.5)
    assert not tax.refused
    info = await who["exchange"].js.consumer_info("EVENTS", "dept_TAX")
    assert (info.num_ack_pending, info.num_pending) == (0, 0)
    foreign = await who["exchange"].js.consumer_info("EVENTS", "dept_FIRE")
    assert foreign.num_pending == 1


@pytest.mark.slow
async def test_the_example_lives_through_a_silence(
    server: NatsServer, who: dict[str, Connection], tmp_path: Path
) -> None:
    """A pull that brings nothing is no end."""
    example = runpy.run_path(str(ROOT / "docs/examples/partner_consumer.py"))
    partner = {"system": "TAX", "nats_url": server.url, "stream": "EVENTS"}
    partner |= {"user": TAX.user, "password": TAX.password}
    partner |= {"durable": TAX.durable, "inbox_prefix": TAX.inbox_prefix}
    (tmp_path / "run.json").write_text(json.dumps({"partners": [partner]}))
    store = tmp_path / "events.db"
    task = asyncio.create_task(example["main"](str(tmp_path / "run.json"), "TAX", 1, str(store)))
    await asyncio.sleep(6)
    assert not task.done()
    event = {"id": "1", "type": "t", "subject": "case_1", "aggregateversion": 1, "time": "now"}
    await who["case"].js.publish("evt.case.submitted.v1.310101.TAX", json.dumps(event).encode())
    async with asyncio.timeout(15):
        await task
    with contextlib.closing(sqlite3.connect(store)) as kept:
        assert kept.execute("select id, version from event").fetchall() == [("1", 1)]


async def test_everything_else_is_refused_to_a_department(who: dict[str, Connection]) -> None:
    tax = who["TAX"]
    for subject in (
        "evt.case.submitted.v1.310101.TAX",
        "evt.x",
        "$JS.API.INFO",
        "$JS.API.STREAM.INFO.EVENTS",
        "$JS.API.STREAM.NAMES",
        "$JS.API.STREAM.DELETE.EVENTS",
        "$JS.API.STREAM.PURGE.EVENTS",
        "$JS.API.STREAM.MSG.GET.EVENTS",
        "$JS.API.DIRECT.GET.EVENTS",
        "$JS.API.CONSUMER.INFO.EVENTS.dept_TAX",
        "$JS.API.CONSUMER.CREATE.EVENTS.dept_TAX",
        "$JS.API.CONSUMER.DELETE.EVENTS.dept_TAX",
        "$JS.API.CONSUMER.MSG.NEXT.EVENTS.dept_FIRE",
        "$JS.API.CONSUMER.MSG.NEXT.EVENTS.case__paid",
        "$JS.ACK.EVENTS.dept_FIRE.1.1.1.1.1",
        "_INBOX_dept_FIRE.x",
    ):
        assert await tax.is_refused(subject), subject
    for subject in ("evt.>", ">", "_INBOX.>", "_INBOX_dept_FIRE.>", "$JS.EVENT.>", "$SYS.>"):
        assert await tax.may_not_hear(subject), subject


async def test_an_account_hears_nothing_even_without_its_users_permissions(
    server: NatsServer, who: dict[str, Connection]
) -> None:
    """The second wall: a published event never enters a department's account."""
    sub = await who["TAX"].client.subscribe("_INBOX_dept_TAX.evt.>")
    await who["payment"].js.publish("evt.payment.paid.v1._._", b"{}")
    with pytest.raises(nats.errors.TimeoutError):
        await sub.next_msg(timeout=0.3)
    await sub.unsubscribe()


async def test_a_stranger_does_not_get_in(server: NatsServer) -> None:
    for user, password in ((None, None), ("case", "wrong"), ("dept_TAX", "pw-fire")):
        with pytest.raises(nats.errors.Error, match="Authorization"):
            await nats.connect(server.url, user=user, password=password, allow_reconnect=False)


async def test_exchange_manages_departments_only(who: dict[str, Connection]) -> None:
    exchange = who["exchange"]
    assert await exchange.is_refused("$JS.API.CONSUMER.DELETE.EVENTS.case__paid")
    assert await exchange.is_refused("$JS.API.CONSUMER.MSG.NEXT.EVENTS.dept_TAX")
    await exchange.js.delete_consumer("EVENTS", "dept_FIRE")


async def test_a_new_department_joins_by_a_reload(
    server: NatsServer, who: dict[str, Connection]
) -> None:
    health = DepartmentUser("HEALTH", "pw-health")
    exchange = ServiceUser("exchange", "pw-exchange", manages=("dept_TAX", "dept_HEALTH"))
    server.reload(accounts_config([CASE, PAYMENT, exchange, GATEWAY, HELPDESK], [TAX, health]))
    joined = await _connect(server, health.user, health.password, health.inbox_prefix)
    manager = await _connect(server, "exchange", "pw-exchange", inbox_prefix("exchange"))
    await manager.js.add_consumer(
        "EVENTS",
        ConsumerConfig(
            durable_name=health.durable,
            filter_subject="evt.*.*.*.*.HEALTH",
            ack_policy=AckPolicy.EXPLICIT,
        ),
    )
    publisher = await _connect(server, "case", "pw$case", inbox_prefix("case"))
    await publisher.js.publish("evt.case.submitted.v1.310101.HEALTH", b"hello")
    sub = await joined.js.pull_subscribe_bind("dept_HEALTH", "EVENTS")
    (message,) = await sub.fetch(1, timeout=2)
    await message.ack_sync(timeout=2)
    assert message.data == b"hello"
    for each in (joined, manager, publisher):
        await each.client.close()


def test_a_name_cannot_widen_rights() -> None:
    for odd in ("a.b", "*", "case>", "", "a b", "税务"):
        with pytest.raises(ValueError, match="no name for the broker"):
            accounts_config([ServiceUser(odd, "x")])
    with pytest.raises(ValueError, match="twice"):
        accounts_config([CASE, CASE])


def test_a_broken_configuration_is_refused_and_told() -> None:
    with NatsServer.temporary(accounts_config([CASE])) as running:
        with pytest.raises(EmbeddedError):
            running.reload("accounts { oops: [ }\n")
        assert running.poll() is None


async def test_who_follows_hears_that_and_nothing_else(server: NatsServer) -> None:
    client = await _connect(server, "helpdesk", "pw-helpdesk", inbox_prefix("helpdesk"))
    create = "$JS.API.CONSUMER.CREATE.EVENTS.helpdesk__live-1"
    assert await client.is_refused(f"{create}.evt.case.>", b"{}")
    assert await client.is_refused(f"{create}.evt.>", b"{}")
    assert await client.is_refused(create, b"{}")
    assert not await client.is_refused(f"{create}.{revocations.SUBJECT}", b"{}")
    await client.client.close()
    broker = await Broker.connect(Nats(server.url, "helpdesk", "pw-helpdesk"), "helpdesk")
    watcher = revocations.Watcher("helpdesk", lambda *_: None)
    task = asyncio.create_task(watcher.run(broker))
    await asyncio.sleep(0.3)
    assert not task.done(), task.exception()
    watcher.stop()
    await task
    await broker.close()
