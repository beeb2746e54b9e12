"""While the database is away a browser gets a page, a program a problem."""

from pathlib import Path

import asyncpg

from identity_svc import seed
from kit.testing import Ground

from .conftest import Start

BROWSER = {"accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}


async def test_a_person_is_told_what_to_do(
    ground: Ground, nats_url: str, secrets_file: Path
) -> None:
    url = await ground.database("identity_svc")
    name = url.rpartition("/")[2]
    async with ground.service(
        "identity_svc", nats=nats_url, database=url, service_secrets_file=secrets_file
    ) as running:
        await seed.seed(running.runtime)
        admin = await asyncpg.connect(ground.postgres.dsn())
        try:
            await admin.execute(f'alter database "{name}" with allow_connections false')
            await admin.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", name
            )
            page = await running.client.get(Start().url, headers=BROWSER)
            assert page.status_code == 503
            assert page.headers["content-type"] == "text/html; charset=utf-8"
            assert "default-src 'none'" in page.headers["content-security-policy"]
            assert page.headers["retry-after"]
            assert "登录服务暂时不可用" in page.text
            assert page.headers["x-request-id"] in page.text
            english = await running.client.get(
                Start().url, headers=BROWSER | {"accept-language": "en"}
            )
            assert 'lang="en"' in english.text
            kept = {"cookie": "beam_lang=en; beam_text=large"}
            chosen = await running.client.get(Start().url, headers=BROWSER | kept)
            assert 'lang="en"' in chosen.text
            assert "Standard text" in chosen.text
            told = await running.client.get(Start().url)
            assert told.headers["content-type"].startswith("application/")
        finally:
            await admin.execute(f'alter database "{name}" with allow_connections true')
            await admin.close()
