"""The embedded servers: durable, closed to strangers, restartable, and gone when we are gone."""

import asyncio
import http.server
import json
import os
import platform
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import nats
import pytest

from kit.embedded import (
    EmbeddedError,
    NatsCluster,
    NatsServer,
    PostgresServer,
    free_port,
    postgres,
    unprivileged,
)
from kit.embedded.unprivileged import user_for_postgres


@pytest.fixture(scope="module")
def database() -> Iterator[PostgresServer]:
    with PostgresServer.temporary() as server:
        yield server


@pytest.fixture
def folder() -> Iterator[Path]:
    """Unlike pytest's own, one that the user PostgreSQL runs as may walk through."""
    place = Path(tempfile.mkdtemp(prefix="beam-test-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


def _alive(pid: int) -> bool:
    """A zombie that a container's first process never collects is dead, too."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _wait_gone(*pids: int) -> None:
    while any(_alive(pid) for pid in pids):
        time.sleep(0.05)


async def test_postgres_is_durable_and_asks_for_a_password(database: PostgresServer) -> None:
    conn = await asyncpg.connect(database.dsn())
    for name, wanted in (
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("data_checksums", "on"),
        ("full_page_writes", "on"),
        ("listen_addresses", "127.0.0.1"),
        ("server_encoding", "UTF8"),
    ):
        assert await conn.fetchval("select current_setting($1)", name) == wanted
    assert int(await conn.fetchval("select current_setting('server_version_num')")) >= 180000
    await conn.close()
    for bad in ("", "postgres"):
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(database.dsn(password=bad or "x"))
    assert database.socket_folder is not None
    assert stat.S_IMODE(database.socket_folder.stat().st_mode) == 0o700
    secret = database.data / "superuser.password"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    local = await asyncpg.connect(
        host=str(database.socket_folder),
        port=database.port,
        user="postgres",
        password=secret.read_text(),
        database="postgres",
    )
    await local.close()


async def test_postgres_comes_back_after_a_kill_with_every_commit(database: PostgresServer) -> None:
    conn = await asyncpg.connect(database.dsn())
    await conn.execute("create table kept (n int)")
    await conn.execute("insert into kept values (1)")
    port, before = database.port, database.pid
    os.kill(before, signal.SIGKILL)
    while database.poll() is None:
        await asyncio.sleep(0.02)
    database.start()
    assert database.port == port
    assert database.pid != before
    again = await asyncpg.connect(database.dsn())
    assert await again.fetchval("select n from kept") == 1
    await again.close()
    conn.terminate()


async def test_a_start_after_a_crash_syncs_by_one_call_where_that_can_be_trusted(
    database: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await asyncpg.connect(database.dsn())
    used = await connection.fetchval("show recovery_init_sync_method")
    await connection.close()
    assert used == postgres._first_sync()
    for release, method in {
        "6.1.0-13-amd64": "syncfs",
        "5.8": "syncfs",
        "5.4.0-150-generic": "fsync",
        "4.19.0": "fsync",
        "unheard of": "fsync",
    }.items():
        monkeypatch.setattr(platform, "release", lambda release=release: release)
        assert postgres._first_sync() == (method if sys.platform == "linux" else "fsync"), release


def test_a_taken_port_is_told_and_nothing_is_left(database: PostgresServer, folder: Path) -> None:
    for second in (
        PostgresServer(folder / "pg", database.port),
        NatsServer(folder / "nats", port=database.port),
    ):
        with pytest.raises(EmbeddedError) as caught:
            second.start()
        assert str(database.port) in caught.value.zh
        assert "BEAM_PORT_BASE" in caught.value.en
        assert second.poll() is not None


def test_a_stale_pid_file_of_someone_else_does_no_harm() -> None:
    with PostgresServer.temporary() as first:
        cluster = Path(
            subprocess.run(
                ["readlink", f"/proc/{first.pid}/cwd"], capture_output=True, text=True, check=True
            ).stdout.strip()
        )
        os.kill(first.pid, signal.SIGKILL)
        while first.poll() is None:
            time.sleep(0.02)
        state = cluster / "postmaster.pid"
        lines = state.read_text().splitlines()
        state.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
        first.start()
        assert first.poll() is None


def test_a_lock_of_the_dead_beside_the_socket_does_no_harm() -> None:
    """After a SIGKILL of everything the dead server may still have its number for a while."""
    with PostgresServer.temporary() as server:
        lock = Path(server.socket_folder or "") / f".s.PGSQL.{server.port}.lock"
        user = user_for_postgres()
        uid, gid = user or (None, None)
        written = lock.read_text()
        server._process.stop()  # type: ignore[union-attr]
        with subprocess.Popen(["sleep", "60"], user=uid, group=gid) as other:
            lock.write_text(written.replace(written.split()[0], str(other.pid), 1))
            if user is not None:
                os.chown(lock, *user)
            try:
                server.start()
                assert str(server.pid) == lock.read_text().split()[0]
            finally:
                other.kill()


def test_a_server_whose_owner_was_killed_is_taken_over(folder: Path) -> None:
    """Guard and owner both killed: the next start finds the server by its data folder, ends it."""
    port = free_port()
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from kit.embedded import PostgresServer\n"
        f"s = PostgresServer(Path({str(folder / 'pg')!r}), {port})\n"
        "s.start()\n"
        "os.kill(s._process._guard.pid, signal.SIGKILL)\n"
        "print(s.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    orphan = int(done.stdout)
    assert _alive(orphan)
    with PostgresServer(folder / "pg", port) as server:
        assert not _alive(orphan)
        assert server.pid != orphan


def test_servers_and_their_data_go_when_the_owner_is_killed() -> None:
    script = (
        "import os, signal\n"
        "from kit.embedded import NatsServer, PostgresServer\n"
        "p, n = PostgresServer.temporary(), NatsServer.temporary()\n"
        "p.start(); n.start()\n"
        "print(p.pid, n.pid, p.data.parent, n.data.parent, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    first, second, *folders = done.stdout.split()
    _wait_gone(int(first), int(second))
    while any(Path(folder).exists() for folder in folders):
        time.sleep(0.05)


def test_a_long_path_gets_a_short_socket_folder(folder: Path) -> None:
    server = PostgresServer(folder / ("长" * 20) / ("x" * 40))
    server.data.parent.mkdir()
    server.start()
    short = server.socket_folder
    assert short is not None
    assert len(str(short)) < 40
    server.stop()
    assert not short.exists()


def test_a_missing_wheel_says_what_to_do(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(postgres.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(EmbeddedError, match="BEAM_POSTGRES_URL"):
        PostgresServer(folder / "pg").start()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root has this problem")
async def test_root_may_keep_venv_and_data_in_a_closed_folder(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    closed, cache = folder / "closed", folder / "cache"
    closed.mkdir(mode=0o700)  # as /root is
    cache.mkdir()
    monkeypatch.setattr(unprivileged, "_SHARED_PLACES", (cache,))
    monkeypatch.setattr(unprivileged, "_SHARED_DATA", cache / "data")
    monkeypatch.setattr(
        unprivileged, "reachable", lambda path, user: cache in (path, *path.parents)
    )
    server = PostgresServer(closed / "pg")
    server.start()
    try:
        executable = os.readlink(f"/proc/{server.pid}/exe")
        assert executable.startswith(str(cache))
        conn = await asyncpg.connect(server.dsn())
        await conn.close()
        server.stop()
        server.start()  # the second time the same copy and the same data are found
        assert len(list(cache.glob("postgresql-*"))) == 1
        assert len(list((cache / "data").glob("postgres-*"))) == 1
    finally:
        server.stop()
    (closed / "pg" / "location").unlink()  # the data folder was thrown away
    unprivileged._remove_orphans()
    assert list((cache / "data").glob("postgres-*")) == []


def test_several_starts_may_clear_away_the_same_orphans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unprivileged, "_SHARED_DATA", tmp_path)
    for number in range(100):
        place = tmp_path / f"postgres-{number}"
        (place / "base").mkdir(parents=True)
        (place / "belongs-to").write_text(str(tmp_path / "gone"))
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(unprivileged._remove_orphans) for _ in range(4)]:
            done.result()
    assert list(tmp_path.iterdir()) == []


async def test_nats_keeps_acknowledged_messages_and_reloads() -> None:
    with NatsServer.temporary() as server:
        conn = await nats.connect(server.url)
        js = conn.jetstream()
        await js.add_stream(name="KEPT", subjects=["kept.>"])
        for _ in range(10):
            await js.publish("kept.one", b"x")
        os.kill(server.pid, signal.SIGKILL)
        while server.poll() is None:
            await asyncio.sleep(0.02)
        server.start()
        again = await nats.connect(server.url)
        assert (await again.jetstream().stream_info("KEPT")).state.messages == 10
        server.reload('authorization { user: "a", password: "b" }\n')
        with pytest.raises(nats.errors.Error, match="Authorization"):
            await nats.connect(server.url, allow_reconnect=False)
        late = await nats.connect(server.url, user="a", password="b")
        for each in (conn, again, late):
            await each.close()


def test_a_leader_that_does_not_know_the_others_yet_leads_nobody(tmp_path: Path) -> None:
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            told = {"status": "ok", "meta_cluster": {"leader": "one-beam-1"}}
            self.wfile.write(json.dumps(told).encode())

        def log_message(self, *_: object) -> None:
            pass

    cluster = NatsCluster(tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as pages:
        for server in cluster.servers:
            server.monitor_port = pages.server_address[1]
        threading.Thread(target=pages.serve_forever, daemon=True).start()
        with pytest.raises(EmbeddedError, match="does not come together"):
            cluster.wait(patience=0)
        pages.shutdown()
