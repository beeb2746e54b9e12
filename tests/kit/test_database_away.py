"""A database that cannot be reached is "not now", whatever the driver calls it."""

import errno
import socket

import httpx
import pytest
from fastapi import FastAPI

from kit import errors


def app(problem: Exception) -> FastAPI:
    made = FastAPI()
    errors.install(made)

    @made.get("/")
    async def route() -> None:
        raise problem

    return made


async def asked(problem: Exception) -> httpx.Response:
    transport = httpx.ASGITransport(app=app(problem))
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        return await client.get("/")


@pytest.mark.parametrize(
    "problem",
    [
        socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
        ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
        OSError(errno.EHOSTUNREACH, "No route to host"),
        OSError("Multiple exceptions: [Errno 111] …, [Errno 111] …"),
        TimeoutError(),
    ],
    ids=lambda p: type(p).__name__,
)
async def test_no_way_to_the_database_is_503(problem: Exception):
    answer = await asked(problem)
    assert answer.status_code == 503
    assert answer.json()["code"] == "unavailable"


async def test_a_missing_file_is_our_own_fault():
    with pytest.raises(FileNotFoundError):
        await asked(FileNotFoundError(errno.ENOENT, "no such file"))
