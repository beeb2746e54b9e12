"""A running case-svc with a real catalogue item, next to a small stand-in for what it asks."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException

from kit.testing import Ground, Running, serve

ITEM: dict[str, Any] = {
    "code": "A05",
    "version": 3,
    "state": "published",
    "name": "食品经营许可（新办）",
    "dept": "SAMR",
    "task_code": "11310000MB9000015H4310100005000",
    "applicant_kinds": ["person", "enterprise"],
    "promise_days": 5,
    "promise_unit": "working_day",
    "statutory_days": 10,
    "statutory_unit": "natural_day",
    "review_depts": ["SAMR", "FIRE"],
    "materials": [
        {"id": "BIZ", "name": "营业执照", "necessity": "required", "licence_type": "LT-BIZ"},
        {"id": "RULES", "name": "食品安全规章制度目录清单", "necessity": "required"},
        {"id": "HEALTH", "name": "健康证明", "necessity": "optional", "licence_type": "LT-HEALTH"},
    ],
    "form_fields": [
        {
            "name": "shop_name",
            "label": "店名",
            "type": "text",
            "required": True,
            "prefill": "licence.LT-BIZ.name",
        },
        {"name": "street", "label": "地址", "type": "text", "prefill": "licence.LT-DL.address"},
        {"name": "phone", "label": "电话", "type": "phone", "prefill": "profile.phone"},
        {"name": "home", "label": "住址", "type": "text", "prefill": "profile.address"},
        {"name": "area", "label": "面积", "type": "number", "required": True},
        {
            "name": "scope",
            "label": "经营项目",
            "type": "enum",
            "required": False,
            "options": [{"value": "hot", "label": "热食"}],
        },
    ],
    "fee": {"code": "A05-FEE", "amount_fen": 5000},
    "licence_type": "LT-FOOD",
    "licence_years": 5,
    "delivery": ["courier", "counter"],
}


def neighbours() -> FastAPI:
    """A catalogue with one item and a licence store in which everybody holds LT-BIZ."""
    app = FastAPI()

    @app.get("/v1/items/{code}")
    async def item(code: str) -> dict[str, Any]:
        other = {"A06": {"fee": None}, "A07": {"state": "suspended"}}.get(code, {})
        return ITEM | {"code": code} | other

    @app.get("/v1/me/licences/in-force")
    async def licences() -> dict[str, Any]:
        held = {"id": "lic_1", "licence_type": "LT-BIZ", "state": "active"}
        return {"items": [held], "next": None}

    @app.get("/v1/licences/lic_1")
    async def licence() -> dict[str, Any]:
        return {"id": "lic_1", "fields": {"name": "执照上的店名"}}

    @app.post("/oauth2/token")
    async def token() -> dict[str, Any]:
        return {"access_token": "of-svc-case", "expires_in": 600}

    @app.get("/internal/v1/accounts/{account_id}/profile")
    async def profile(account_id: str, purpose: str) -> dict[str, Any]:
        assert purpose == "prefill"
        if account_id != "acc_profile":
            raise HTTPException(404)
        return {"values": {"phone": "13800000009", "name": "不问不给"}}

    return app


@contextlib.asynccontextmanager
async def _case(ground: Ground, nats_url: str) -> AsyncIterator[Running]:
    async with serve(neighbours()) as url:
        options = {"catalog_url": url, "licence_url": url, "identity_url": url}
        options["token_url"] = f"{url}/oauth2/token"
        async with ground.service("case_svc", nats=nats_url, **options) as running:
            yield running


@pytest.fixture(scope="module")
async def case(ground: Ground, nats_url: str) -> AsyncIterator[Running]:
    async with _case(ground, nats_url) as running:
        yield running
