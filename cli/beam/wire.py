"""Messages between the supervisor and what it started: JSON lines over a socket, with files."""

import array
import json
import socket
from collections.abc import Sequence
from typing import Any

_HEADER = 4


def send(conn: socket.socket, message: Any, files: Sequence[int] = ()) -> None:
    """Send one message, and open files along with it."""
    body = json.dumps(message).encode()
    data = len(body).to_bytes(_HEADER, "big") + body
    ancillary = []
    if files:
        ancillary.append((socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files)))
    sent = conn.sendmsg([data], ancillary)
    conn.sendall(data[sent:])


def receive(conn: socket.socket) -> tuple[Any, list[int]] | None:
    """The next message and the files that came with it; None when the other side is gone."""
    files = array.array("i")
    try:
        head, ancillary, _, _ = conn.recvmsg(_HEADER, socket.CMSG_SPACE(8 * files.itemsize))
    except ConnectionResetError:
        return None
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            files.frombytes(data[: len(data) - len(data) % files.itemsize])
    head += _exactly(conn, _HEADER - len(head)) if head else b""
    if len(head) < _HEADER:
        return None
    length = int.from_bytes(head, "big")
    body = _exactly(conn, length)
    return (json.loads(body), list(files)) if len(body) == length else None


def _exactly(conn: socket.socket, count: int) -> bytes:
    parts = b""
    while len(parts) < count:
        part = conn.recv(count - len(parts))
        if not part:
            break
        parts += part
    return parts
