"""The service that everyone writes first: FastAPI, a session per request, ORM, response models.

It keeps the same three rows as ours: the matter, its event, its key.
`python -m bench.peers.plain_service PORT DATABASE`, over the tables of kit_service.
"""

import json
import sys
import uuid
from collections.abc import AsyncIterator
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from kit.db import IdempotencyKey
from kit.outbox import Outbox

from .kit_service import Matter


class MatterIn(BaseModel):
    item_code: str = Field(max_length=20)
    region: str = Field(pattern=r"^\d{6}$")


class MatterOut(BaseModel):
    id: str
    item_code: str
    region: str
    state: str
    version: int


def create_app(database: str) -> FastAPI:
    app = FastAPI()
    sessions = async_sessionmaker(create_async_engine(database), expire_on_commit=False)

    async def session() -> AsyncIterator[AsyncSession]:
        async with sessions() as opened:
            yield opened

    @app.post("/v1/cases", status_code=201, response_model=MatterOut)
    async def open_matter(
        given: MatterIn,
        db: Annotated[AsyncSession, Depends(session)],
        idempotency_key: Annotated[str, Header()],
    ) -> Any:
        known = {"client": "acc_bench", "route": "POST /v1/cases", "key": idempotency_key}
        if await db.get(IdempotencyKey, tuple(known.values())) is not None:
            raise HTTPException(409)
        matter = Matter(
            id=f"mat_{uuid.uuid4().hex}",
            owner_id="acc_bench",
            state="draft",
            version=1,
            **given.model_dump(),
        )
        told = json.dumps({"matter_id": matter.id, "item_code": matter.item_code})
        db.add(matter)
        db.add(Outbox(id=uuid.uuid4(), subject="evt.case.matter_opened.v1._._", body=told))
        db.add(IdempotencyKey(**known, fingerprint="", status=201, body=told.encode()))
        await db.commit()
        return matter

    @app.get("/v1/cases/{matter_id}", response_model=MatterOut)
    async def get_matter(matter_id: str, db: Annotated[AsyncSession, Depends(session)]) -> Any:
        matter = await db.get(Matter, matter_id)
        if matter is None:
            raise HTTPException(404)
        return matter

    @app.get("/constant")
    async def constant() -> dict[str, Any]:
        return {"id": "mat_1", "item_code": "A05", "region": "310115", "state": "draft"}

    return app


if __name__ == "__main__":
    uvicorn.run(
        create_app(sys.argv[2]), port=int(sys.argv[1]), access_log=False, log_level="warning"
    )
