"""The outside world as one program."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from starlette.responses import JSONResponse, Response

from . import keys
from .book import Book
from .citizens import api as citizens_api
from .enterprises import api as enterprises_api
from .oidc import api as oidc_api
from .posts import Chore, Courier
from .settings import Settings
from .sf import api as sf_api
from .sf import control as sf_control
from .sf import tracks
from .sms import api as sms_api
from .wechat import api as wechat_api
from .wechat import bill_control, notices, refunds, scan
from .wechat import control as wechat_control
from .wechat.wire import Wire
from .wechat_mini import api as wechat_mini_api


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the sandbox. Keys and book are made in their folders if they are not there."""
    chosen = settings or Settings()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        keys.provision(chosen.keys)
        book = Book(chosen.data)
        courier = _furnish(app, chosen, book)
        task = asyncio.create_task(courier.run())
        app.state.ready = lambda: not task.done()
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            book.close()

    app = FastAPI(title="One Beam sandbox", lifespan=lifespan)
    app.add_api_route("/health/live", _live, methods=["GET"])

    @app.get("/health/ready")
    async def ready() -> Response:
        """The book is open and call-backs are being delivered."""
        if app.state.ready():
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "not ready", "reasons": ["courier stopped"]}, 503)

    return app


def _furnish(app: FastAPI, settings: Settings, book: Book) -> Courier:
    """Put all rooms into the app, on one book and one courier."""
    wire, sf_side = Wire(settings.keys, book), keys.read_sf(settings.keys)
    push_url = settings.sf_push_url.rstrip("/")
    if push_url:
        push_url = f"{push_url}/{sf_side.push_token}"
    pauses = settings.sf_step_seconds, settings.magic_step_seconds
    courier = Courier(
        book,
        [notices.Notices(wire), tracks.Pushes()],
        [
            Chore(
                lambda: refunds.next_at(book),
                lambda now: refunds.settle_due(book, wire.side, now),
            ),
            Chore(
                lambda: tracks.next_at(book),
                lambda now: tracks.move_due(book, push_url, *pauses, now),
            ),
        ],
        settings.retry_factor,
    )
    hang = settings.hang_seconds
    for room in (
        wechat_api.Api(
            wire, book, courier, refund_seconds=settings.refund_seconds, hang_seconds=hang
        ),
        wechat_control.Control(wire, book, courier),
        bill_control.BillControl(wire, book),
        scan.Scan(wire, book, courier),
        sf_api.Api(
            sf_side,
            book,
            courier,
            step_seconds=settings.sf_step_seconds,
            magic_step_seconds=settings.magic_step_seconds,
            hang_seconds=hang,
        ),
        sf_control.Control(push_url, book, courier),
        sms_api.Room(keys.read_sms(settings.keys), book, hang_seconds=hang),
        citizens_api.Room(keys.read_register(settings.keys, "citizens"), book, hang_seconds=hang),
        enterprises_api.Room(
            keys.read_register(settings.keys, "enterprises"), book, hang_seconds=hang
        ),
        wechat_mini_api.Room(keys.read_wechat_mini(settings.keys), book, hang_seconds=hang),
        oidc_api.Room(
            keys.read_oidc(settings.keys),
            book,
            base_url=settings.base_url,
            redirect_uri=settings.oidc_redirect_uri,
            hang_seconds=hang,
        ),
    ):
        app.include_router(room.router)
    return courier


async def _live() -> dict[str, str]:
    """The process answers."""
    return {"status": "live"}
