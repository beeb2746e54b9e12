"""What is created together is kept as if each had a transaction of its own."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime
from typing import Any, ClassVar
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI, Request
from sqlalchemy import ForeignKey, String, select
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from contracts.event import Event
from kit.auth import Applicant
from kit.db import Now, Sealed, ServiceBase, new_metadata
from kit.errors import Conflict
from kit.outbox import emit
from kit.routing import Creating, In, Out, router
from kit.testing import Ground, Running, key

from . import toy
from .toy import beside


class _Sown(Event):
    TYPE: ClassVar[str] = "helpdesk.sown.v1"
    name: str
    place: int


class Base(ServiceBase):
    metadata = new_metadata()


class Tree(Base):
    __tablename__ = "tree"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column("order", unique=True)
    seed: Mapped[UUID | None]
    sown_on: Mapped[date | None]
    seen_at: Mapped[datetime | None]
    height: Mapped[int] = mapped_column(default=1)
    more: Mapped[Any] = mapped_column(JSONB, nullable=True)
    seal: Mapped[Sealed]
    tags: Mapped[list[str] | None] = mapped_column(ARRAY(String()))
    created_at: Mapped[Now]


class Leaf(Base):
    __tablename__ = "leaf"
    id: Mapped[str] = mapped_column(primary_key=True)
    tree_id: Mapped[str] = mapped_column(ForeignKey("tree.id"))
    place: Mapped[int]


class Bush(Base):
    """As a tree, with plain columns only."""

    __tablename__ = "bush"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column("order", unique=True)
    seed: Mapped[UUID | None]
    sown_on: Mapped[date | None]
    seen_at: Mapped[datetime | None]
    height: Mapped[int] = mapped_column(default=1)
    more: Mapped[Any] = mapped_column(JSONB, nullable=True)
    seal: Mapped[Sealed]
    created_at: Mapped[Now]


class Berry(Base):
    __tablename__ = "berry"
    id: Mapped[str] = mapped_column(primary_key=True)
    bush_id: Mapped[str] = mapped_column(ForeignKey("bush.id"))
    place: Mapped[int]


class SowIn(In):
    name: str
    parts: int = 2
    more: Any = None
    full: bool = False
    look: bool = False


class SownOut(Out):
    id: str
    name: str


routes = router(prefix="/v1")
WHOLE: dict[str, Any] = {
    "seed": UUID(int=7),
    "sown_on": date(2026, 2, 28),
    "seen_at": datetime(2026, 2, 28, 23, 59, 59, 999999, tzinfo=UTC),
    "height": -3,
}


@routes.post("/bushes", status_code=201)
async def sow_bush(session: Creating, caller: Applicant, given: SowIn, request: Request) -> SownOut:
    parts = request.app.state.runtime.parts
    parts["worked"] = parts.get("worked", 0) + 1
    if parts.get("winter"):
        raise Conflict("冬天不种。", "Nothing is sown in winter.")
    if given.look:
        assert await session.scalar(select(Bush.id).where(Bush.name == "nobody's")) is None
    whole = WHOLE if given.full else {}
    bush = Bush(id=uuid4().hex, name=given.name, more=given.more, seal=b"\0\xff'", **whole)
    session.add(bush)
    for place in range(given.parts):
        session.add(Berry(id=f"{bush.id}-{place}", bush_id=bush.id, place=place))
        told = _Sown(name=given.name, place=place)
        emit(session, told, subject=bush.id, version=place + 1)
    return SownOut.model_validate(bush)


@routes.post("/trees", status_code=201)
async def sow_tree(session: Creating, caller: Applicant, given: SowIn) -> SownOut:
    tree = Tree(id=uuid4().hex, name=given.name, seal=b"", tags=["a", "b"])
    session.add(tree)
    session.add(Leaf(id=tree.id, tree_id=tree.id, place=1))
    return SownOut.model_validate(tree)


@pytest.fixture
async def app(ground: Ground, nats_url: str) -> AsyncIterator[FastAPI]:
    async with toy.serving(routes, ground, nats_url) as made:
        async with made.state.runtime.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        yield made


@pytest.fixture
async def client(app: FastAPI, ground: Ground) -> AsyncIterator[httpx.AsyncClient]:
    async with toy.client_of(app, ground) as made:
        yield made


async def books(app: FastAPI) -> dict[str, int]:
    async with beside(app) as database:
        row = await database.fetchrow(
            "select (select count(*) from bush) as bushes, "
            "(select count(*) from berry) as berries, (select count(*) from outbox) as events, "
            "(select count(*) from tree) as trees, (select count(*) from leaf) as leaves, "
            "(select count(*) from idempotency_key) as keys, "
            "(select count(*) from idempotency_key where status = 201) as answers"
        )
    return dict(row)


async def sow(
    client: httpx.AsyncClient, name: str, *, path: str = "/v1/bushes", **given: Any
) -> Any:
    headers = given.pop("headers", None) or key()
    return await client.post(path, json={"name": name, **given}, headers=headers)


def pool_of(app: FastAPI) -> Any:
    return app.state.runtime.engine.sync_engine.pool


@pytest.fixture
def taken(app: FastAPI, client: httpx.AsyncClient) -> Iterator[list[str]]:
    """What was said about keys in transactions of requests' own."""
    with Running(app, client).keys_taken() as said:
        yield said


async def test_many_at_once_need_no_transaction_of_their_own(
    app: FastAPI, client: httpx.AsyncClient, taken: list[str]
) -> None:
    answers = await asyncio.gather(*(sow(client, f"b{n}", parts=n % 3) for n in range(40)))
    assert [answer.status_code for answer in answers] == [201] * 40
    parts = sum(n % 3 for n in range(40))
    assert await books(app) == {
        **{"bushes": 40, "berries": parts, "events": parts, "keys": 40, "answers": 40},
        **{"trees": 0, "leaves": 0},
    }
    assert not taken
    async with beside(app) as database:
        told = await database.fetch("select subject, body::jsonb as body from outbox order by seq")
        assert all(row["subject"] for row in told)
        names = {answer.json()["name"]: answer.json()["id"] for answer in answers}
        for name, id_ in names.items():
            mine = await database.fetch(
                "select (body::jsonb)->'data'->>'place' as place from outbox "
                "where (body::jsonb)->>'subject' = $1 order by seq",
                id_,
            )
            assert [int(row["place"]) for row in mine] == list(range(len(mine))), name


async def test_values_come_back_as_they_were(
    app: FastAPI, client: httpx.AsyncClient, taken: list[str]
) -> None:
    documents: list[Any] = [None, [], {}, {"a": [1, None, "x'\"\\"]}, "text", 0, False]
    for number, (more, full) in enumerate(itertools.product(documents, [False, True])):
        name = f"名字 {number} '; drop table bush; --"
        answer = await sow(client, name, more=more, full=full)
        assert answer.status_code == 201
        async with app.state.runtime.sessions() as session:
            bush = await session.get_one(Bush, answer.json()["id"])
        assert (bush.name, bush.more, bush.seal) == (name, more, b"\0\xff'")
        wanted = WHOLE if full else {"seed": None, "sown_on": None, "seen_at": None, "height": 1}
        assert {column: getattr(bush, column) for column in wanted} == wanted
        assert abs((datetime.now(UTC) - bush.created_at).total_seconds()) < 3600
    assert not taken


async def test_one_key_at_once_is_one_creation(app: FastAPI, client: httpx.AsyncClient) -> None:
    same = key()
    answers = await asyncio.gather(*(sow(client, "one", headers=same) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    replayed = [answer for answer in answers if "idempotent-replayed" in answer.headers]
    assert len(replayed) == 7
    assert (await books(app))["bushes"] == 1


async def test_a_repeated_request_gets_its_first_answer_whatever_has_changed(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    same = key()
    first = await sow(client, "mine", headers=same)
    again = await sow(client, "mine", headers=same)
    app.state.runtime.parts["winter"] = True
    later = await sow(client, "mine", headers=same)
    assert first.text == again.text == later.text
    assert later.status_code == 201
    assert later.headers["idempotent-replayed"] == "true"
    other = await sow(client, "other", headers=same)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    unfit = await sow(client, "mine", headers=same, unknown=1)
    assert (unfit.status_code, unfit.json()["code"]) == (422, "idempotency_key_reused")
    assert (await books(app))["keys"] == 1


async def test_what_failed_leaves_nothing_and_may_be_repeated(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    same = key()
    app.state.runtime.parts["winter"] = True
    refused = await sow(client, "late", headers=same)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert set((await books(app)).values()) == {0}
    app.state.runtime.parts["winter"] = False
    assert (await sow(client, "late", headers=same)).status_code == 201


async def test_a_refused_row_spoils_only_its_own_request(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    await sow(client, "twice", parts=1)
    names = ["a", "twice", "b", "c"]
    answers = await asyncio.gather(*(sow(client, name, parts=1) for name in names))
    assert [answer.status_code for answer in answers] == [201, 500, 201, 201]
    assert await books(app) == {
        **{"bushes": 4, "berries": 4, "events": 4, "keys": 4, "answers": 4},
        **{"trees": 0, "leaves": 0},
    }


async def test_a_key_that_somebody_holds_makes_nobody_else_wait_for_long(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    held = key()
    async with beside(app) as database:
        transaction = database.transaction()
        await transaction.start()
        row = "values ('acc_1', 'POST /v1/bushes', $1, 'f')"
        insert = f"insert into idempotency_key (client, route, key, fingerprint) {row}"
        await database.execute(insert, held["idempotency-key"])
        waiting = asyncio.create_task(sow(client, "held", headers=held))
        others = await asyncio.gather(*(sow(client, f"free {n}") for n in range(5)))
        assert [other.status_code for other in others] == [201] * 5
        assert not waiting.done()
        answer = await waiting
        assert (answer.status_code, answer.json()["code"]) == (409, "in_progress")
        await transaction.rollback()
    assert (await sow(client, "held", headers=held)).status_code == 201


async def test_a_route_that_looks_first_takes_its_key_first(
    app: FastAPI, client: httpx.AsyncClient, taken: list[str]
) -> None:
    same = key()
    first = await sow(client, "looked", headers=same, look=True)
    assert first.status_code == 201
    assert len(taken) == 2
    again = await sow(client, "looked", headers=same, look=True)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.text == first.text
    assert (await books(app))["bushes"] == 1
    assert pool_of(app).checkedout() == 0


async def test_columns_that_do_not_fit_have_a_transaction_of_their_own(
    app: FastAPI, client: httpx.AsyncClient, taken: list[str]
) -> None:
    answer = await sow(client, "oak", path="/v1/trees")
    assert answer.status_code == 201
    assert taken
    found = await books(app)
    assert (found["trees"], found["leaves"], found["answers"]) == (1, 1, 1)


async def test_a_lost_connection_loses_and_doubles_nothing(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    await sow(client, "first", parts=1)
    async with beside(app) as database:
        # The one of the creations is the only one with this patience.
        creating = app.state.runtime.creations._connection.get_server_pid()
        await database.execute("select pg_terminate_backend($1)", creating)
    answers = await asyncio.gather(*(sow(client, f"n{n}", parts=1) for n in range(10)))
    assert [answer.status_code for answer in answers] == [201] * 10
    found = await books(app)
    assert found["bushes"] == found["berries"] == found["events"] == found["answers"] == 11


async def test_an_unknown_end_is_found_out_by_its_key(
    app: FastAPI, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The statement was carried out, and the connection broke before we heard of it."""
    creations = app.state.runtime.creations
    write = creations._write

    async def unheard(batch: Any) -> Any:
        await write(batch)
        raise ConnectionError

    monkeypatch.setattr(creations, "_write", unheard)
    answer = await sow(client, "unheard", parts=1)
    assert answer.status_code == 201
    assert answer.headers["idempotent-replayed"] == "true"
    found = await books(app)
    assert found["bushes"] == found["events"] == found["answers"] == 1
    async with app.state.runtime.sessions() as session:
        assert (await session.get_one(Bush, answer.json()["id"])).name == "unheard"


async def test_the_error_of_a_row_is_the_database_s(app: FastAPI) -> None:
    async with app.state.runtime.sessions() as session:
        session.add(Berry(id="b", bush_id="nobody's", place=1))
        with pytest.raises(IntegrityError):
            await session.flush()
