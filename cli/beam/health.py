"""Asking a program whether it is ready, with nothing but a socket."""

import asyncio


async def status_of(port: int, path: str = "/health/ready") -> int | None:
    """The HTTP status of a GET on 127.0.0.1; None when nobody answers."""
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                head = f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
                writer.write(f"{head}connection: close\r\n\r\n".encode())
                words = (await reader.readline()).split()
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return None
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else None


async def until_ready(port: int) -> None:
    """Wait until /health/ready says 200."""
    while await status_of(port) != 200:  # noqa: ASYNC110  there is nobody to set an event
        await asyncio.sleep(0.03)
