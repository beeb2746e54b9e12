"""What is left after a run: every database, the outside world's books, what departments heard,
what was answered to whom. The checks read this and nothing else."""

import asyncio
import base64
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from kit.db import open_engine, open_sessions
from kit.jose import SigningKey
from kit.seals import watch, words
from kit.seals.anchors import AnchorFile
from kit.seals.blocks import Chain, trails_of
from kit.secrets import Vault

from ..programs import BY_NAME

Row = Mapping[str, Any]
KIT_TABLES = {
    "outbox": "select seq, id, subject, body, sent_at from outbox order by seq",
    "inbox": "select consumer, event_id from inbox",
    "dead_letter": "select consumer, event_id, error_class, died_at, replayed_at from dead_letter",
    "idempotency_key": "select key, status from idempotency_key",
    "staff_action": "select actor, action, request_id from staff_action",
    "unsealed": "select id from staff_action t where not exists (select from audit_seal s "
    "where s.trail = 'staff_action' and s.row_id = t.id)",
    "moment": "select now() as now",
    "rights": """
        select relname, array_remove(array[
          case when has_table_privilege(oid, 'update') then 'update' end,
          case when has_table_privilege(oid, 'delete') then 'delete' end,
          case when has_table_privilege(oid, 'truncate') then 'truncate' end], null) as rights
        from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace
    """,
}
OWN_TABLES = {
    "case": {
        "case": "select id, state, version, delivery, outcome, payment_id, licence_id, "
        'timeline_head, accepted_on, decided_on from "case"',
        "task": "select id, case_id, state, version from task",
        "correction": "select id, case_id from correction",
        "timeline_entry": "select * from timeline_entry order by id",
        "pause": "select case_id, started_on, ended_on from clock_pause",
    },
    "payment": {
        name: f"select * from {name}"
        for name in (
            "payment_order",
            "attempt",
            "charge",
            "refund",
            "ledger_txn",
            "ledger_entry",
        )
    },
    "licence": {
        "licence": "select id, state, version, case_id, ordinal from licence",
        "licence_order": "select id, state, case_id, trouble from licence_order",
        "presentation": "select id, state, version from presentation",
    },
    "logistics": {
        "address": "select id from address",
        "shipment": "select id, state, version, case_id, licence_id, waybill_no from shipment",
    },
    "helpdesk": {"rating": "select id, state, version, case_id, due from rating"},
    "exchange": {"feed_entry": "select seq, event_id, type, subject, dept, body from feed_entry"},
}


@dataclass(frozen=True)
class Answer:
    """One answer that a caller of ours received."""

    method: str
    path: str
    key: str | None
    """Idempotency-Key of the request."""
    status: int
    body: Mapping[str, Any]
    digest: str
    request_id: str = ""
    replayed: bool = False
    """The first answer to this key, given again."""
    staff: str = ""
    """Who of the staff asked, by the name of the journey's caller."""

    @classmethod
    def of(cls, request: httpx.Request, answer: httpx.Response, staff: str = "") -> "Answer":
        kind = answer.headers.get("content-type", "")
        body = answer.json() if kind.startswith("application/json") else {}
        return cls(
            method=request.method,
            path=request.url.path,
            key=request.headers.get("idempotency-key"),
            status=answer.status_code,
            body=body if isinstance(body, dict) else {},
            digest=hashlib.sha256(answer.content).hexdigest(),
            request_id=answer.headers.get("x-request-id", ""),
            replayed=answer.headers.get("idempotent-replayed") == "true",
            staff=staff,
        )


@dataclass(frozen=True)
class Told:
    """An event as some outbox holds it."""

    service: str
    id: str
    type: str
    subject: str
    version: int
    dept: str
    sent: bool
    data: Mapping[str, Any]

    @classmethod
    def of(cls, service: str, row: Row) -> "Told":
        body = json.loads(row["body"])
        return cls(
            service=service,
            id=str(row["id"]),
            type=body["type"].removeprefix("cn.beam."),
            subject=body["subject"],
            version=body["aggregateversion"],
            dept=body["dept"],
            sent=row["sent_at"] is not None,
            data=body["data"],
        )


@dataclass
class Evidence:
    """Everything that the checks may ask."""

    databases: dict[str, dict[str, list[Row]]]
    wechat: dict[str, list[Row]]
    sf: dict[str, list[Row]]
    heard: dict[str, list[Row]]
    """Department → events that its own system pulled, as often as they came."""
    answers: Sequence[Answer] = ()
    wishes: dict[str, str] = field(default_factory=dict)
    """Case → `approved` or `refused`: how its journey was to end."""
    statuses: dict[int, int] = field(default_factory=dict)
    """Place of a licence → what the published status list says of it."""

    def rows(self, service: str, table: str) -> list[Row]:
        return self.databases.get(service, {}).get(table, [])

    @cached_property
    def told(self) -> list[Told]:
        """The events of all outboxes."""
        return [
            Told.of(service, row)
            for service, tables in self.databases.items()
            for row in tables.get("outbox", [])
        ]

    def events(self, type_: str) -> list[Told]:
        return [event for event in self.told if event.type == type_]


async def collect(
    run_file: Path,
    *,
    heard: Mapping[str, Sequence[Row]],
    answers: Sequence[Answer],
    wishes: Mapping[str, str],
) -> Evidence:
    """Read everything. Raises OSError, asyncpg's or httpx's errors while something is away."""
    run = json.loads(run_file.read_text())
    read = (_database(service, url) for service, url in run["postgres"].items())
    databases = dict(zip(run["postgres"], await asyncio.gather(*read), strict=True))
    for service, url in run["postgres"].items():
        databases[service]["unfit"] = await _unfit(run_file.parent, service, url)
    async with httpx.AsyncClient(base_url=run["sandbox"], timeout=20, trust_env=False) as client:
        books = [(await client.get(f"/_sim/{name}/book")).json() for name in ("wechat", "sf")]
    places = [row["ordinal"] for row in databases.get("licence", {}).get("licence", [])]
    return Evidence(
        databases=databases,
        wechat=books[0],
        sf=books[1],
        heard={dept: list(events) for dept, events in heard.items()},
        answers=list(answers),
        wishes=dict(wishes),
        statuses=await _statuses(run["services"]["licence"], places),
    )


async def _statuses(licences: str, places: Sequence[int]) -> dict[int, int]:
    """Read as a verifier reads them: two bits a licence, in lists of 65,536."""
    size, bits = 1 << 16, 2
    read: dict[int, int] = {}
    async with httpx.AsyncClient(base_url=licences, timeout=20, trust_env=False) as client:
        for n in {place // size for place in places}:
            answer = (await client.get(f"/v1/status-lists/{n}")).raise_for_status()
            claims = _unpacked(answer.text.split(".")[1])
            packed = json.loads(claims)["status_list"]["lst"]
            whole = zlib.decompress(_unpacked(packed))
            for place in places:
                if place // size == n:
                    position = place % size * bits
                    read[place] = whole[position // 8] >> position % 8 & (1 << bits) - 1
    return read


def _unpacked(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def _unfit(data: Path, service: str, url: str) -> list[Row]:
    """What does not fit in a service's sealed records, as `beam audit verify` finds it."""
    vault = Vault.from_file(data / "vault" / f"{service}.json")
    signer = SigningKey.derived(vault.secret_for("seals"))
    chain = Chain(service, trails_of(BY_NAME[service].package), signer)
    engine = open_engine(url.replace("postgresql://", "postgresql+asyncpg://", 1), pool=1)
    try:
        async with open_sessions(engine)() as session:
            written = AnchorFile(data / "audit", service).every()
            found = await watch.verify(session, chain, written)
    finally:
        await engine.dispose()
    return [{"what": words.told(finding)[1]} for finding in found]


async def _database(service: str, url: str) -> dict[str, list[Row]]:
    connection = await asyncpg.connect(url, timeout=5, command_timeout=30)
    try:
        # One snapshot: a row and the event that tells of it are seen together or not at all.
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            queries = KIT_TABLES | OWN_TABLES.get(service, {})
            return {
                table: [dict(row) for row in await connection.fetch(query)]
                for table, query in queries.items()
            }
    finally:
        await connection.close()
