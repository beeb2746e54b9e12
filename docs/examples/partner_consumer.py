"""A department's system: pulls its events from its durable and acknowledges what it has stored.

Nothing of One Beam is imported; nats-py is enough. While this program is away the events wait;
an event that is not acknowledged comes again, so keep each id and skip what you have.

    python docs/examples/partner_consumer.py .data/run.json SAMR
"""

import asyncio
import json
import sys
from pathlib import Path

import nats
from nats.errors import TimeoutError as NothingCame


async def refused(error: Exception) -> None:
    """A refused call looks like a time-out to the caller; the reason comes only here."""
    print("broker:", error, file=sys.stderr)


async def main(run_file: str, system: str, most: int) -> None:
    run = json.loads(Path(run_file).read_text())
    partner = next(p for p in run["partners"] if p["system"] == system)
    client = await nats.connect(
        partner["nats_url"].split(","),
        user=partner["user"],
        password=partner["password"],
        inbox_prefix=partner["inbox_prefix"],
        error_cb=refused,
    )
    pull = f"$JS.API.CONSUMER.MSG.NEXT.{partner['stream']}.{partner['durable']}"
    ask = json.dumps({"batch": 50, "expires": 5_000_000_000}).encode()
    count = 0
    while not most or count < most:
        inbox = client.new_inbox()
        answers = await client.subscribe(inbox)
        await client.publish(pull, ask, reply=inbox)
        try:
            while not most or count < most:
                message = await answers.next_msg(timeout=6)
                if message.headers and "Status" in message.headers:
                    break  # nothing more for now: ask again
                event = json.loads(message.data)
                print(event["time"], event["type"], event["subject"], flush=True)
                await client.publish(message.reply, b"+ACK")
                count += 1
        except NothingCame:
            pass
        await answers.unsubscribe()
    await client.drain()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 0))
