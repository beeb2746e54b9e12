"""The health check of every container of ours: exit 0 when /health/ready says 200.

A bare socket and nothing imported beside it: it runs every few seconds in every container.
"""

import os
import socket
import sys

PORT = int(os.environ.get("BEAM_PORT", "8000"))
REQUEST = b"GET /health/ready HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"


def main() -> int:
    answer = b""
    try:
        with socket.create_connection(("127.0.0.1", PORT), timeout=4) as connection:
            connection.sendall(REQUEST)
            while len(answer) < 4096 and (part := connection.recv(4096)):
                answer += part
    except OSError as exc:
        answer += str(exc).encode()
    print(answer.rpartition(b"\r\n\r\n")[2].decode(errors="replace")[:1000])
    return 0 if answer[:13] == b"HTTP/1.1 200 " else 1


if __name__ == "__main__":
    sys.exit(main())
