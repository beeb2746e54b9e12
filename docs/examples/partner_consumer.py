"""A department's system: pulls its events from its durable, keeps them, then acknowledges them.

Nothing of One Beam is imported; nats-py is enough. While this program is away the events wait.
What is kept lies in a SQLite file beside it; put your own tables in its place.

    python docs/examples/partner_consumer.py .data/run.json SAMR [how many] [events.db]
"""

import asyncio
import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

import nats

TABLE = """create table if not exists event (
  id text primary key, type text, subject text, version integer, body text)"""
KEEP = "insert into event values (?, ?, ?, ?, ?) on conflict do nothing"
NEWER = "select 1 from event where subject = ? and version > ?"


def keep(store: sqlite3.Connection, event: dict[str, Any]) -> str:
    """One transaction: the event, and whatever follows from it in your system."""
    subject, version = event["subject"], event["aggregateversion"]
    with store:
        row = (event["id"], event["type"], subject, version, json.dumps(event, ensure_ascii=False))
        if store.execute(KEEP, row).rowcount == 0:
            return "known"  # it may come twice: its id tells
        if store.execute(NEWER, (subject, version)).fetchone():
            return "late"  # something newer of this subject is here already
        return "new"  # ← your own work goes here


async def refused(error: Exception) -> None:
    """A refused call looks like a time-out to the caller; the reason comes only here."""
    print("broker:", error, file=sys.stderr)


async def main(run_file: str, system: str, most: int = 0, file: str = ":memory:") -> None:
    run = json.loads(Path(run_file).read_text())
    partner = next(p for p in run["partners"] if p["system"] == system)
    store = sqlite3.connect(file)
    store.execute(TABLE)
    client = await nats.connect(
        partner["nats_url"].split(","),
        user=partner["user"],
        password=partner["password"],
        inbox_prefix=partner["inbox_prefix"],
        error_cb=refused,
        max_reconnect_attempts=-1,
    )
    # Bind, do not create: the durable is there, and asking about it is not among our rights.
    events = await client.jetstream().pull_subscribe_bind(partner["durable"], partner["stream"])
    count = 0
    while not most or count < most:
        try:
            batch = await events.fetch(min(50, most - count) if most else 50, timeout=5)
        except TimeoutError:  # nothing came; nats-py raises its own kind of it or the plain one
            continue
        for message in batch:
            event = json.loads(message.data)
            told = keep(store, event)
            await message.ack()
            waiting = message.metadata.num_pending
            print(event["time"], event["type"], event["subject"], told, waiting, flush=True)
        count += len(batch)
    await client.drain()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    most = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    asyncio.run(main(sys.argv[1], sys.argv[2], most, *sys.argv[4:5]))
