"""A creation that is durable, with its event and its key: against pgbench running the same SQL,
and the whole way through the beam against the stack that everyone writes first."""

import asyncio
from collections.abc import Callable

from bench import ground
from bench.harness import Bench, Sample, Started
from bench.peers import pgbench

PATH = "/v1/cases"
BODY = '{"item_code":"A05","region":"310115"}'
CLIENTS = 16
TRANSACTION = """\
\\set key random(1, 9000000000000000000)
begin;
insert into idempotency_key (client, route, key, fingerprint)
  select 'acc_pgbench', 'POST /v1/cases', :key::bigint::text, repeat('f', 64)
  from set_config('lock_timeout', '3s', true)
  on conflict do nothing returning key;
insert into matter (id, owner_id, item_code, region, state, version)
  values ('mat_' || gen_random_uuid(), 'acc_pgbench', 'A05', '310115', 'draft', 1)
  returning created_at;
with events as (
  insert into outbox (id, subject, body, sent_at)
  select id, 'evt.case.matter_opened.v1.310115._', repeat('e', 600), now()
  from unnest(array[gen_random_uuid()]) with ordinality as told (id, place)
  order by place)
update idempotency_key set status = 201, headers = '{"content-type": "application/json"}',
  body = decode(repeat('ab', 160), 'hex')
  where client = 'acc_pgbench' and route = 'POST /v1/cases' and key = :key::bigint::text;
commit;
"""
"""What the database does for a creation that has a transaction of its own."""
ONE_STATEMENT = """\
\\set key random(1, 9000000000000000000)
with asked as (
  select * from unnest(
    array['acc_pgbench'], array['POST /v1/cases'], array[:key::bigint::text],
    array[repeat('f', 64)], array[201], array['{"content-type": "application/json"}'::jsonb],
    array[decode(repeat('ab', 160), 'hex')]
  ) with ordinality as asked (client, route, key, fingerprint, status, headers, body, place)),
claimed as (
  insert into idempotency_key (client, route, key, fingerprint, status, headers, body)
  select client, route, key, fingerprint, status, headers, body from asked
  order by client, route, key
  on conflict do nothing returning client, route, key),
mine as (select place as of from asked join claimed using (client, route, key)),
rows_0 as (
  insert into matter (id, owner_id, item_code, region, state, version)
  select c0, c1, c2, c3, c4, c5 from unnest(
    array[1::bigint], array['mat_' || gen_random_uuid()], array['acc_pgbench'], array['A05'],
    array['310115'], array['draft'], array[1]
  ) with ordinality as given (of, c0, c1, c2, c3, c4, c5, place)
  join mine using (of) order by place),
events as (
  insert into outbox (id, subject, body, sent_at)
  select id, subject, body, now() from unnest(
    array[1::bigint], array[gen_random_uuid()], array['evt.case.matter_opened.v1.310115._'],
    array[repeat('e', 600)]
  ) with ordinality as told (of, id, subject, body, place)
  join mine using (of) order by place)
select of as place from mine;
"""
"""What it does for one that goes with others (`kit.creations`), when it goes alone."""


async def run(bench: Bench) -> None:
    headers = ground.headers(bench.folder)
    async with ground.servers(bench) as place:
        with bench.programs():
            ours = place.kit_service()
            await _against_pgbench(bench, place, ours, headers)
            plain = place.plain_service()
            beam = ground.gateway(bench, case=ground.port_of(ours))
            first = ground.plain_proxy(bench, ground.port_of(plain))
            found = await asyncio.to_thread(
                bench.compare, [first, beam], PATH, connections=CLIENTS, headers=headers, body=BODY
            )
            bench.add(
                "submit-plain",
                "beam + service on the kit / plain FastAPI + httpx + ORM stack, rps",
                found["beam"]["ratio"],
                8.0,
                note=f"p99 {found['beam']['p99_ms']:.0f} ms against {found['plain']['p99_ms']:.0f}",
                ours=found["beam"],
                base=found["plain"],
            )
            await place.check_books()


async def _against_pgbench(
    bench: Bench, place: ground.Ground, ours: Started, headers: dict[str, str]
) -> None:
    if pgbench.find() is None:
        bench.skip("create-pgbench", "the wheel of PostgreSQL has no pgbench")
        return

    def base(name: str, sql: str) -> Callable[[], Sample]:
        script = bench.folder / f"{name}.sql"
        script.write_text(sql)

        def measure() -> Sample:
            tps, mean = pgbench.rate(place.dsn, script, clients=CLIENTS, seconds=bench.seconds)
            return Sample(tps, mean, mean)

        return measure

    def over_http() -> Sample:
        return bench.fire(ours, PATH, connections=CLIENTS, headers=headers, body=BODY)

    measured = {
        "transaction": base("transaction", TRANSACTION),
        "one": base("one_statement", ONE_STATEMENT),
        "kit": over_http,
    }
    found = await asyncio.to_thread(bench.alternate, measured)
    mine, one = found["kit"], found["one"]
    bench.add(
        "create-pgbench",
        "create with event and key over HTTP / its transaction by pgbench, 16 clients, rps",
        mine["ratio"],
        0.25,
        note=f"{mine['rps']:.0f}/s, p99 {mine['p99_ms']:.0f} ms, {mine['cpu_us']:.0f} µs of CPU; "
        f"its one statement by pgbench: {mine['ratio'] / one['ratio']:.2f}",
        ours=mine,
        base=found["transaction"],
    )
