"""What lies on the wire is a CloudEvent to those who have never heard of us."""

import json

import nats as client

from kit.testing import until


async def test_an_event_says_that_it_is_one(alpha, nats):
    """NATS binding 1.0.2, 3.2: structured mode is told by the content type; names and values of
    headers are ASCII. In batches and alone."""
    await alpha.start(nats)
    await alpha.ping(1)
    await alpha.ping(*range(2, 5))

    async def sent() -> bool:
        return await alpha.column("select count(*) from outbox where sent_at is null") == [0]

    await until(sent)
    async with await client.connect(nats) as connection:
        js = connection.jetstream()
        messages = [await js.get_msg("EVENTS", sequence) for sequence in range(1, 5)]
    for message in messages:
        assert message.headers["Content-Type"] == "application/cloudevents+json"
        assert all((name + value).isascii() for name, value in message.headers.items())
        event = json.loads(message.data)
        assert event["id"] == message.headers["Nats-Msg-Id"]
        assert {"specversion", "id", "source", "type"} <= event.keys()
