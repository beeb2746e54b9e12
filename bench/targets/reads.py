"""Reads: one matter by its id against a constant, a public page out of the beam's cache, search
against its bare SQL, and a page far down a long list."""

import asyncio
import logging
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from sqlalchemy import text

from bench import ground
from bench.harness import Bench
from bench.peers import nginx
from catalog_svc import searches
from catalog_svc.seed import seed
from kit import testing
from kit.embedded import NatsServer

CLIENTS = 16
ITEMS = 1135
QUERIES = ("想开个小饭馆", "身份证丢了怎么办", "公司不干了想注销", "二手房过户", "我想退休领养老金")
_MORE_ITEMS = """
with had as (select count(*) as n from search_entry), more as (
  select e.code || '-' || g as code, e.dept, e.kinds, e.brief, e.size, e.terms, e.words, e.grams
  from search_entry e, generate_series(1, 100) g
  order by g, e.code limit (select :wanted - n from had)
), items as (
  insert into item (code, dept, version) select code, dept, 1 from more
)
insert into search_entry (code, dept, kinds, brief, size, terms, words, grams) select * from more
"""
LONG_LIST = 100_000
PAGE = 100


async def run(bench: Bench) -> None:
    headers = ground.headers(bench.folder)
    async with ground.servers(bench) as place:
        with bench.programs():
            await _one(bench, place, headers)
        with bench.programs():
            await _far_page(bench, place, headers)
    await _search(bench)
    with bench.programs():
        await _cached(bench)


async def _one(bench: Bench, place: ground.Ground, headers: dict[str, str]) -> None:
    ours, plain = place.kit_service(), place.plain_service()
    body = {"item_code": "A05", "region": "310115"}
    async with httpx.AsyncClient(headers=headers, trust_env=False) as client:
        made = await client.post(
            f"{ours.url}/v1/cases", json=body, headers={"Idempotency-Key": "one"}
        )
        path = f"/v1/cases/{made.raise_for_status().json()['id']}"

    def fired(program: Any, where: str) -> Callable[[], Any]:
        return lambda: bench.fire(program, where, connections=CLIENTS, headers=headers)

    variants = {
        "constant": fired(plain, "/constant"),
        "kit": fired(ours, path),
        "plain": fired(plain, path),
    }
    found = await asyncio.to_thread(bench.alternate, variants)
    mine = found["kit"]
    bench.add(
        "read-constant",
        "read one by id, token checked / FastAPI answering a constant, 16 clients, rps",
        mine["ratio"],
        0.5,
        note=f"{mine['rps']:.0f}/s; plain ORM service {found['plain']['ratio']:.2f}",
        ours=mine,
        base=found["constant"],
        plain=found["plain"],
    )


async def _times(ask: Callable[[], Awaitable[Any]], count: int) -> list[float]:
    times = []
    for _ in range(count):
        began = time.perf_counter()
        await ask()
        times.append(time.perf_counter() - began)
    return sorted(times)


async def _far_page(bench: Bench, place: ground.Ground, headers: dict[str, str]) -> None:
    """The list of `kit_service` is a keyset walk as every list of ours is."""
    connection = await asyncpg.connect(place.dsn)
    await connection.execute(
        "insert into matter (id, owner_id, item_code, region, state, version) "
        "select 'mat_' || to_char(n, 'FM0000000'), 'acc_bench', 'A05', '310115', 'draft', 1 "
        f"from generate_series(1, {LONG_LIST}) n"
    )
    await connection.execute("analyze matter")
    await connection.close()
    ours = place.kit_service()
    async with httpx.AsyncClient(headers=headers, trust_env=False, base_url=ours.url) as client:

        async def page(where: str) -> dict[str, Any]:
            found: dict[str, Any] = (await client.get(where)).raise_for_status().json()
            return found

        start = here = f"/v1/cases?limit={PAGE}"
        for _ in range(LONG_LIST // PAGE - 1):
            here = (await page(here))["next"]
        ratios, count = [], 20 if bench.quick else 60
        for _ in range(bench.rounds):
            first = statistics.median(await _times(lambda: page(start), count))
            last = statistics.median(await _times(lambda: page(here), count))
            ratios.append(last / first)
    bench.add(
        "page-far",
        f"page {LONG_LIST // PAGE} of a list of {LONG_LIST} / its first page, time",
        statistics.median(ratios),
        1.5,
        at_least=False,
    )


async def _cached(bench: Bench) -> None:
    """A public page that the catalogue lets the beam keep."""
    if nginx.find() is None:
        bench.skip("cached-nginx", "no nginx on this machine (Debian: apt-get install nginx-light)")
        return
    headers = {"Accept": "application/json", "User-Agent": "BeamApp/2.1"}
    with ground.broker() as nats:
        service, port = bench.free_port(), bench.free_port()
        bench.start(
            "service", nginx.service(bench.folder, service, public=True), service, tested=False
        )
        base = bench.start("nginx", nginx.proxy(bench.folder, port, service), port, tested=True)
        ground.headers(bench.folder)
        beam = ground.gateway(bench, nats, catalog=service)
        for _ in range(100):
            answer = httpx.get(f"{beam.url}/v1/items/A05", headers=headers, trust_env=False)
            if "age" in answer.headers:
                break
            await asyncio.sleep(0.1)
        else:
            raise RuntimeError("the beam never kept the page")
        found = await asyncio.to_thread(
            bench.compare, [base, beam], "/v1/items/A05", connections=32, headers=headers
        )
    bench.add(
        "cached-nginx",
        "public page from the beam's cache / nginx proxy_pass, 32 connections, rps",
        found["beam"]["ratio"],
        0.5,
        note=f"CPU ratio {found['beam']['cpu_ratio']:.2f}",
        ours=found["beam"],
        base=found["nginx"],
    )


async def _search(bench: Bench) -> None:
    """Everyday queries over as many items as a district has: the route against its statement."""
    with tempfile.TemporaryDirectory() as folder, NatsServer.temporary() as nats:
        place = testing.Ground(Path(folder))
        place.start()
        try:
            async with place.service("catalog_svc", nats=nats.url) as catalog:
                await seed(catalog.runtime)
                logging.getLogger().setLevel(logging.WARNING)  # a line a request is not for here
                async with catalog.runtime.sessions.begin() as session:
                    await session.execute(text(_MORE_ITEMS), {"wanted": ITEMS})
                async with testing.serve(catalog.app, lifespan="off") as address:
                    await _compare_search(bench, address, catalog.runtime)
        finally:
            place.stop()


async def _compare_search(bench: Bench, address: str, runtime: Any) -> None:
    async with httpx.AsyncClient(base_url=address, trust_env=False) as client:

        async def route(query: str) -> None:
            (await client.get("/v1/items", params={"q": query, "limit": 10})).raise_for_status()

        async def bare(query: str) -> None:
            async with runtime.sessions() as session:
                await searches.find(session, query, dept=None, kind=None, after=None, limit=10)

        asked, ratios, figures = list(QUERIES) * (5 if bench.quick else 15), [], [0.0, 0.0]
        for turn in range(-1, bench.rounds):
            p99 = []
            for ask in (route, bare):
                times = []
                for query in asked:
                    began = time.perf_counter()
                    await ask(query)
                    times.append(time.perf_counter() - began)
                p99.append(sorted(times)[int(len(times) * 0.99)] * 1000)
            if turn >= 0:
                ratios.append(p99[0] / p99[1])
                figures = p99
    bench.add(
        "search-sql",
        f"search over {ITEMS} items, p99 over HTTP / p99 of its bare statement",
        statistics.median(ratios),
        5.0,
        at_least=False,
        note=f"p99 {figures[0]:.1f} ms against {figures[1]:.1f}",
    )
