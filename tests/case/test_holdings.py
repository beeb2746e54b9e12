"""What case-svc holds of an account: told for its owner's export, and to whoever closes it."""

import hashlib
from typing import Any

from sqlalchemy import select

from case_svc import forms
from case_svc.models import Case, File
from contracts.identity import AccountClosed
from kit import holdings as doors
from kit.testing import Ground, Running

from .test_cases import PDF, draft, submitted


async def test_open_cases_and_export(case: Running, ground: Ground) -> None:
    handed_in = await submitted(case, ground, "acc_holds")
    begun = await draft(case, ground, "acc_holds")
    slot = next(slot for slot in begun["materials"] if slot["state"] == "needed")
    for content in (PDF, PDF + b" better"):
        path = f"/v1/cases/{begun['id']}/materials/{slot['id']}"
        put = await case.client.put(path, content=content, headers=ground.person("acc_holds"))
        assert put.status_code == 200, put.text
    ask = ground.service_token("identity")
    base = "/internal/v1/accounts/acc_holds"
    matters = await case.client.get(f"{base}/open-matters", headers=ask)
    assert matters.json() == {"items": [{"kind": "case", "id": handed_in["id"]}]}
    person = await case.client.get(f"{base}/export", headers=ground.person("acc_holds"))
    assert person.status_code == 403, "services alone"
    page = (await case.client.get(f"{base}/export", headers=ask)).json()
    assert (page["part"], page["title"], len(page["items"])) == ("cases", "办件", 2)
    assert page["items"][0]["form"]["shop_name"], "in clear, for the person"
    following = {"cursor": page["next"]}
    files = (await case.client.get(f"{base}/export", params=following, headers=ask)).json()
    assert (files["part"], files["next"]) == ("case_files", None)
    assert {"download", "material"} <= files["items"][0].keys()
    replaced = [file for file in files["items"] if file["download"] is None]
    assert [file["case_id"] for file in replaced] == [begun["id"]]
    for file in files["items"]:
        if file in replaced:
            continue
        found = await case.client.get(file["download"], headers=ground.person("acc_holds"))
        assert hashlib.sha256(found.content).hexdigest() == file["digest"], file
        assert len(found.content) == file["size"]
    other = "/internal/v1/accounts/acc_other/export"
    foreign = await case.client.get(other, params=following, headers=ask)
    assert foreign.status_code == 400, "a cursor is good for its account alone"


async def test_a_long_part_has_pages(case: Running, ground: Ground, monkeypatch: Any) -> None:
    monkeypatch.setattr(doors, "PAGE", 2)
    made = [(await draft(case, ground, "acc_long"))["id"] for _ in range(5)]
    ask, url = ground.service_token("identity"), "/internal/v1/accounts/acc_long/export"
    seen: list[str] = []
    cursor: str | None = None
    while True:
        params = {"cursor": cursor} if cursor else {}
        page = (await case.client.get(url, params=params, headers=ask)).json()
        assert len(page["items"]) <= 2
        if page["part"] == "cases":
            seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == sorted(made)


async def test_drafts_are_erased_with_the_account(case: Running, ground: Ground) -> None:
    kept = (await submitted(case, ground, "acc_ends"))["id"]
    gone = (await draft(case, ground, "acc_ends"))["id"]
    closed = AccountClosed(account_id="acc_ends")
    assert await case.hear(closed, times=2, subject="acc_ends", version=3) == 1
    async with case.runtime.sessions() as session:
        rows = {row.id: row for row in await session.scalars(select(Case))}
        files = set(await session.scalars(select(File.case_id)))
    assert forms.opened(case.runtime.vault, rows[gone]) == {}
    assert gone not in files
    assert forms.opened(case.runtime.vault, rows[kept])["shop_name"], "a record is kept"
