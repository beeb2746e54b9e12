"""The end of the public address's certificate is known before it comes."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.certificate import Certificate, CertificateWatch, look

NOW = datetime(2026, 11, 23, tzinfo=UTC)


@contextlib.asynccontextmanager
async def door(folder: Path, begins: datetime, ends: datetime) -> AsyncIterator[str]:
    """The https address of a server with a certificate that nobody believes."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "beam.example")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    shown = builder.not_valid_before(begins).not_valid_after(ends).sign(key, hashes.SHA256())
    pem = folder / "door.pem"
    pem.write_bytes(
        shown.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}"


async def test_it_is_read_also_when_it_has_ended(tmp_path: Path) -> None:
    begins, ends = NOW - timedelta(days=365), NOW - timedelta(days=1)
    async with door(tmp_path, begins, ends) as address:
        assert await look(address) == Certificate(begins, ends)
    assert await look(address) is None


async def test_the_watch_knows_what_the_door_shows(tmp_path: Path) -> None:
    async with door(tmp_path, NOW, NOW + timedelta(days=90)) as address:
        watch = CertificateWatch(address)
        task = asyncio.create_task(watch.run())
        while watch.certificate is None:
            await asyncio.sleep(0.01)
        task.cancel()
    assert watch.certificate.ends == NOW + timedelta(days=90)


async def test_there_is_nothing_to_watch_without_tls() -> None:
    await CertificateWatch("http://127.0.0.1:8000").run()


@pytest.mark.parametrize(
    ("life", "left", "soon"),
    [
        (timedelta(days=365), timedelta(days=15), False),
        (timedelta(days=365), timedelta(days=13), True),
        (timedelta(days=90), timedelta(days=13), True),
        (timedelta(hours=12), timedelta(hours=4), False),
        (timedelta(hours=12), timedelta(hours=2), True),
        (timedelta(days=365), timedelta(days=-1), True),
    ],
)
def test_soon_is_measured_by_days_and_by_its_life(
    life: timedelta, left: timedelta, soon: bool
) -> None:
    ends = NOW + left
    assert Certificate(ends - life, ends).ends_soon(NOW) is soon
