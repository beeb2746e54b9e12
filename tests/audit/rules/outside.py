# What the rules of outside.yaml find and leave alone.
import asyncio
import socket
import ssl
import urllib.request

import asyncpg
import httpx


async def limits(url):
    # ruleid: no-time-limit
    httpx.AsyncClient(base_url=url)
    # ruleid: no-time-limit
    client = httpx.AsyncClient(timeout=None)
    # ruleid: no-time-limit
    await client.get(url, timeout=None)
    # ruleid: no-time-limit
    urllib.request.urlopen(url)
    # ruleid: no-time-limit
    await asyncpg.connect(url)
    # ruleid: no-time-limit
    socket.create_connection(("localhost", 1))
    # ok: no-time-limit
    httpx.AsyncClient(base_url=url, timeout=3)
    # ok: no-time-limit
    urllib.request.urlopen(url, timeout=5)
    # ok: no-time-limit
    await asyncpg.connect(url, command_timeout=5)
    async with asyncio.timeout(5):
        # ok: no-time-limit
        await asyncpg.connect(url)


async def addresses(client, body, settings):
    # ruleid: call-to-a-given-address
    await client.post(body.webhook_url, json={})
    # ruleid: call-to-a-given-address
    await client.request("POST", body.callback, json={})
    # ruleid: call-to-a-given-address
    urllib.request.urlopen(body.icon_url, timeout=5)
    # ok: call-to-a-given-address
    await client.post(settings.sms_url, json={})
    # ok: call-to-a-given-address
    await client.get("/v1/items")


def certificates(url):
    # ruleid: tls-not-checked
    httpx.get(url, verify=False, timeout=3)
    # ruleid: tls-not-checked
    context = ssl._create_unverified_context()
    # ruleid: tls-not-checked
    context.check_hostname = False
    # ok: tls-not-checked
    return httpx.get(url, verify="/etc/ssl/ca.pem", timeout=3)
