"""The sandbox's own book: one SQLite file that survives a kill at any moment.

Every answer is given only after its effect is committed with `synchronous=FULL`, so the book can
be asked what really happened outside.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS nonces (nonce TEXT PRIMARY KEY, at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS nonces_at ON nonces (at);

CREATE TABLE IF NOT EXISTS faults (
    id INTEGER PRIMARY KEY, channel TEXT NOT NULL, call TEXT NOT NULL, kind TEXT NOT NULL,
    moment TEXT NOT NULL, remaining INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS plans (
    id INTEGER PRIMARY KEY, channel TEXT NOT NULL, ref TEXT NOT NULL, args TEXT NOT NULL,
    remaining INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS posts (
    id TEXT PRIMARY KEY, channel TEXT NOT NULL, ref TEXT NOT NULL, url TEXT NOT NULL,
    content TEXT NOT NULL, signtest INTEGER NOT NULL, state TEXT NOT NULL, due_at REAL NOT NULL,
    tries INTEGER NOT NULL, last_answer TEXT NOT NULL, created_at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS posts_due ON posts (due_at) WHERE state = 'waiting';

CREATE TABLE IF NOT EXISTS wechat_orders (
    out_trade_no TEXT PRIMARY KEY, params TEXT NOT NULL, total INTEGER NOT NULL,
    description TEXT NOT NULL, attach TEXT, notify_url TEXT NOT NULL, expires_at REAL NOT NULL,
    code TEXT NOT NULL UNIQUE, state TEXT NOT NULL, created_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS wechat_payments (
    transaction_id TEXT PRIMARY KEY, out_trade_no TEXT NOT NULL REFERENCES wechat_orders,
    total INTEGER NOT NULL, openid TEXT NOT NULL, paid_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS wechat_refunds (
    out_refund_no TEXT PRIMARY KEY, refund_id TEXT NOT NULL UNIQUE, params TEXT NOT NULL,
    transaction_id TEXT NOT NULL REFERENCES wechat_payments, out_trade_no TEXT NOT NULL,
    amount INTEGER NOT NULL, total INTEGER NOT NULL, state TEXT NOT NULL, notify_url TEXT,
    created_at REAL NOT NULL, settle_at REAL, succeeded_at REAL);
CREATE INDEX IF NOT EXISTS wechat_refunds_due ON wechat_refunds (settle_at)
    WHERE state = 'PROCESSING';
CREATE INDEX IF NOT EXISTS wechat_payments_paid ON wechat_payments (paid_at);
CREATE INDEX IF NOT EXISTS wechat_payments_order ON wechat_payments (out_trade_no);
CREATE INDEX IF NOT EXISTS wechat_refunds_created ON wechat_refunds (created_at);
CREATE TABLE IF NOT EXISTS wechat_bill_days (
    day TEXT PRIMARY KEY, state TEXT NOT NULL, spoil TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS wechat_bill_edits (
    id INTEGER PRIMARY KEY, day TEXT NOT NULL, act TEXT NOT NULL, number TEXT NOT NULL,
    line TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS wechat_bill_files (
    token TEXT PRIMARY KEY, content BLOB NOT NULL, made_at REAL NOT NULL);

CREATE TABLE IF NOT EXISTS sf_orders (
    order_id TEXT PRIMARY KEY, waybill_no TEXT NOT NULL UNIQUE, data TEXT NOT NULL,
    state TEXT NOT NULL, filter_result TEXT NOT NULL, next_step TEXT, next_at REAL,
    created_at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS sf_orders_due ON sf_orders (next_at) WHERE next_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS sf_tracks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, waybill_no TEXT NOT NULL, at INTEGER NOT NULL,
    op_code TEXT NOT NULL, place TEXT NOT NULL, remark TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS sf_tracks_waybill ON sf_tracks (waybill_no, at);

CREATE TABLE IF NOT EXISTS sms_messages (
    biz_id TEXT PRIMARY KEY, out_id TEXT NOT NULL, phone TEXT NOT NULL, code TEXT NOT NULL,
    at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS mini_codes (
    code TEXT PRIMARY KEY, kind TEXT NOT NULL, about TEXT NOT NULL, ends_at REAL NOT NULL,
    used INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS mini_tokens (token TEXT PRIMARY KEY, ends_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS mini_asked (user TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS citizens (id_number TEXT PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS enterprises (
    uscc TEXT PRIMARY KEY, name TEXT NOT NULL, representative TEXT NOT NULL);
"""


class Book:
    """One open book. All access is from one thread; `act` is one transaction."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(folder / "book.db", isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"
            "PRAGMA busy_timeout=5000;" + _SCHEMA
        )

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def act(self) -> Iterator[sqlite3.Connection]:
        """A writing transaction: committed at the end, undone on an exception."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def rows(self, query: str, *args: Any) -> list[dict[str, Any]]:
        """What a reading query finds."""
        return [dict(row) for row in self._db.execute(query, args)]

    def row(self, query: str, *args: Any) -> dict[str, Any] | None:
        """The first row that a reading query finds."""
        found = self._db.execute(query, args).fetchone()
        return dict(found) if found is not None else None
