"""licence-svc 电子证照, assembled."""

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI

from kit import holdings as doors
from kit.app import create_app as create
from kit.runtime import Runtime
from kit.secrets import SealBroken

from . import holdings, keys, types
from .jobs import jobs
from .routes import router
from .settings import Settings
from .subscribers import on


@contextlib.asynccontextmanager
async def setup(runtime: Runtime) -> AsyncIterator[None]:
    async with runtime.sessions.begin() as session:
        try:
            signer = await keys.load(session, runtime.vault, runtime.settings.issuer)
        except SealBroken:
            raise SystemExit(
                "签名密钥无法解封:BEAM_VAULT_KEY_FILE 不是建库时所用的密钥文件。"
                " / BEAM_VAULT_KEY_FILE is not the key file that sealed this database."
            ) from None
        runtime.parts["signer"] = signer
        await types.load(session)
    yield


def create_app(settings: Settings | None = None) -> FastAPI:
    return create(
        settings or Settings(),
        title="电子证照 licence-svc",
        routers=[router, doors.router("licence", holdings.PARTS)],
        on=on,
        jobs=jobs,
        setup=setup,
    )
