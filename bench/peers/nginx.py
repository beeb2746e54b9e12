"""nginx as the service behind the gateways, and nginx as a gateway: proxy_pass, the base."""

import shutil
from pathlib import Path

BODY = '{"code":"A05","name":"食品经营许可","promise_days":5,"pad":"' + "x" * 600 + '"}'

_CONFIG = """
daemon off; worker_processes 1; pid {folder}/{name}.pid; error_log {folder}/{name}.log error;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 75s; {temp}
  {inner}
}}
"""
_SERVICE = """
  server {{ listen 127.0.0.1:{port} backlog=4096; default_type application/json;
           {more} location / {{ return 200 '{body}'; }} }}
"""
_PROXY = """
  upstream service {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port} backlog=4096;
           location / {{ proxy_pass http://service; proxy_http_version 1.1;
                         proxy_set_header Connection ""; }} }}
"""


def find() -> str | None:
    """The nginx of this machine, or None."""
    return shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")


def _write(folder: Path, name: str, inner: str) -> list[str]:
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temp = " ".join(f"{kind}_temp_path {folder}/{name}_{kind};" for kind in kinds)
    file = folder / f"{name}.conf"
    file.write_text(_CONFIG.format(folder=folder, name=name, temp=temp, inner=inner))
    program = find()
    assert program is not None
    return [program, "-p", str(folder), "-c", str(file), "-e", str(folder / f"{name}.log")]


def service(folder: Path, port: int, *, public: bool = False) -> list[str]:
    """The command of a service that answers one JSON document, faster than any gateway;
    `public`: everybody may keep it for a minute."""
    more = "add_header Cache-Control 'public, max-age=60';" if public else ""
    return _write(folder, "service", _SERVICE.format(port=port, body=BODY, more=more))


def proxy(folder: Path, port: int, upstream: int) -> list[str]:
    """The command of a gateway that does nothing but pass on."""
    return _write(folder, "proxy", _PROXY.format(port=port, upstream=upstream))
