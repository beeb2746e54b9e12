"""A creation that is durable, with its event and its key: against pgbench running the same SQL,
and the whole way through the beam against the stack that everyone writes first."""

import asyncio

from bench import ground
from bench.harness import Bench, Sample, Started
from bench.peers import pgbench

PATH = "/v1/cases"
BODY = '{"item_code":"A05","region":"310115"}'
CLIENTS = 16
SQL = """\
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
    script = bench.folder / "create.sql"
    script.write_text(SQL)

    def base() -> Sample:
        tps, mean = pgbench.rate(place.dsn, script, clients=CLIENTS, seconds=bench.seconds)
        return Sample(tps, mean, mean)

    def over_http() -> Sample:
        return bench.fire(ours, PATH, connections=CLIENTS, headers=headers, body=BODY)

    found = await asyncio.to_thread(bench.alternate, {"pgbench": base, "kit": over_http})
    mine = found["kit"]
    bench.add(
        "create-pgbench",
        "create with event and key over HTTP / the same SQL by pgbench, 16 clients, rps",
        mine["ratio"],
        0.25,
        note=f"{mine['rps']:.0f}/s, p99 {mine['p99_ms']:.0f} ms, {mine['cpu_us']:.0f} µs of CPU",
        ours=mine,
        base=found["pgbench"],
    )
