"""What an operator does on the host around `docker compose`; called by the Makefile.

    python3 deploy/host.py secrets | preflight | up | reload-broker | roll SERVICE
    python3 deploy/host.py backup [FILE] | restore FILE | upgrade

Needs Python 3.9 and Docker, nothing installed beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

DEPLOY = Path(__file__).resolve().parent
sys.path.insert(0, str(Path(os.environ.get("BEAM_ROOT") or DEPLOY.parent) / "cli"))

from beam import VERSION, backups  # noqa: E402  (these two need the standard library only)

SECRETS = DEPLOY / "secrets"
ENV = DEPLOY / ".env"
SERVICES = (
    "identity", "catalog", "case", "licence", "payment", "logistics", "helpdesk", "exchange",
)  # fmt: skip
PARTS = ("database", "nats", "client")
ROLLABLE = (*SERVICES, "gateway")
MEMORY_MIB, DISK_MIB = 3000, 5000


def main() -> int:
    parser = argparse.ArgumentParser(prog="host.py")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("secrets", "preflight", "up", "reload-broker"):
        commands.add_parser(name)
    commands.add_parser("roll").add_argument("service", choices=ROLLABLE)
    commands.add_parser("backup").add_argument("file", nargs="?", type=Path)
    commands.add_parser("restore").add_argument("file", type=Path)
    commands.add_parser("upgrade")
    wanted = parser.parse_args()
    try:
        if wanted.command == "roll":
            return roll(wanted.service)
        if wanted.command == "backup":
            return backup(wanted.file)
        if wanted.command == "restore":
            return restore(wanted.file)
        return COMMANDS[wanted.command]()
    except backups.Refused as problem:
        fail(problem.zh, problem.en)


# ---- talking to Docker


def compose(*arguments: str, capture: bool = False) -> str:
    """Run `docker compose` on our file; its output when captured. Ends us when it fails."""
    command = ["docker", "compose", "--project-directory", str(DEPLOY), "-f",
               str(DEPLOY / "compose.yaml"), *arguments]  # fmt: skip
    done = subprocess.run(
        command, check=False, text=True, stdout=subprocess.PIPE if capture else None
    )
    if done.returncode != 0:
        fail(
            f"docker compose {arguments[0]} 未成功(退出码 {done.returncode}),原因见上。",
            f"docker compose {arguments[0]} failed ({done.returncode}), see above.",
        )
    return done.stdout or ""


def docker(*arguments: str) -> str | None:
    """Output of a docker command; None when it fails or there is no docker."""
    try:
        done = subprocess.run(["docker", *arguments], check=False, text=True, capture_output=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def fail(zh: str, en: str) -> NoReturn:
    print(f"✗ {zh}\n  {en}", file=sys.stderr)
    raise SystemExit(2)


def settings() -> dict[str, str]:
    """What deploy/.env says; the environment of the caller goes before it, as with compose."""
    found = {}
    if ENV.exists():
        for line in ENV.read_text("utf-8").splitlines():
            name, equals, value = line.partition("=")
            if equals and re.fullmatch(r"[A-Z_]+", name):
                found[name] = value.strip().strip("\"'")
    return {**found, **{k: v for k, v in os.environ.items() if k in found or k.startswith("BEAM_")}}


# ---- secrets


def secrets() -> int:
    """deploy/.env and deploy/secrets/, once; what is there is never changed."""
    os.umask(0o077)
    if not ENV.exists():
        ENV.write_text((DEPLOY / "env.example").read_text("utf-8"), "utf-8")
        ENV.chmod(0o600)
        print("✓ deploy/.env(试用设置;正式使用前请逐项检查) / settings for a trial: read them")
    SECRETS.mkdir(mode=0o700, exist_ok=True)
    now, image = settings(), _image()
    trial = "sandbox" in now.get("COMPOSE_PROFILES", "").split(",")
    done = subprocess.run(
        ["docker", "run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp",
         "--cap-drop", "ALL",
         "--security-opt", "no-new-privileges", "--user", f"{os.getuid()}:{os.getgid()}",
         "-e", f"BEAM_PARTNER_DEPTS={now.get('BEAM_PARTNER_DEPTS', '')}",
         "-v", f"{SECRETS}:/made", image, "secrets", "/made", *(["--outside"] if trial else [])],
        check=False,
    )  # fmt: skip
    if done.returncode == 0:
        print("  请把 deploy/secrets/ 另存一份:丢失后,加密的资料无法恢复。")
        print("  Keep a copy of deploy/secrets/: without it sealed data cannot be opened again.")
    return done.returncode


def _image() -> str:
    """Our image, built when it is not there. (Compose cannot: it wants the settings first.)"""
    now = settings()
    version = now.get("BEAM_VERSION", "0.1.0")
    image = f"{now.get('BEAM_IMAGE', 'one-beam')}:{version}"
    if docker("image", "inspect", image) is not None:
        return image
    if docker("version") is None:
        fail(
            "Docker 没有应答。请安装并启动 Docker。",
            "Docker does not answer: install and start it.",
        )
    given = [f"{k}={now[k]}" for k in ("PYTHON_IMAGE", "PIP_INDEX_URL") if now.get(k)]
    arguments = [a for pair in (*given, f"BEAM_VERSION={version}") for a in ("--build-arg", pair)]
    done = subprocess.run(
        ["docker", "build", "-q", "-f", str(DEPLOY / "Dockerfile"), "-t", image, *arguments,
         str(DEPLOY.parent)],
        check=False,
    )  # fmt: skip
    if done.returncode != 0:
        fail("镜像没有构建成功,原因见上。", "The image could not be built, see above.")
    return image


# ---- preflight


def preflight() -> int:
    """Every finding on a line, with what to do; 1 when one is bad."""
    bad = 0
    for good, zh, en in findings():
        print(f"{'✓' if good else '✗'} {zh} / {en}")
        bad += not good
    print("可以启动:make up" if not bad else f"请先处理以上 {bad} 项 / mend these first")
    return 1 if bad else 0


def findings() -> Iterator[tuple[bool, str, str]]:
    """(good, Chinese, English)"""
    engine = docker("version", "--format", "{{.Server.Version}}")
    yield (
        engine is not None and _major(engine) >= 20,
        f"Docker {engine}" if engine else "Docker 没有应答,请安装并启动(20.10 以上)",
        "the engine" if engine else "Docker does not answer: install and start 20.10 or newer",
    )
    plugin = docker("compose", "version", "--short")
    yield (
        plugin is not None and _major(plugin) >= 2,
        f"Docker Compose {plugin}" if plugin else "没有 Docker Compose,请安装 2.20 以上",
        "the plugin" if plugin else "no Compose plugin: install 2.20 or newer",
    )
    yield from _machine()
    yield from _files()
    yield from _address()


def _major(version: str) -> int:
    number = re.match(r"v?(\d+)", version)
    return int(number[1]) if number else 0


def _machine() -> Iterator[tuple[bool, str, str]]:
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        total = re.search(r"MemTotal:\s+(\d+)", meminfo.read_text())
        mib = int(total[1]) // 1024 if total else 0
        yield (
            mib >= MEMORY_MIB,
            f"内存 {mib} MiB,至少需要 {MEMORY_MIB}",
            f"memory, {MEMORY_MIB} MiB needed",
        )
    root = Path(docker("info", "--format", "{{.DockerRootDir}}") or "/")
    free = shutil.disk_usage(root if root.exists() else "/").free >> 20
    yield (
        free >= DISK_MIB,
        f"磁盘可用 {free} MiB,至少需要 {DISK_MIB}",
        f"disk, {DISK_MIB} MiB needed",
    )


def _files() -> Iterator[tuple[bool, str, str]]:
    if not ENV.exists():
        yield False, "没有 deploy/.env,请执行 make secrets", "no deploy/.env: run make secrets"
        return
    closed = ENV.stat().st_mode & 0o077 == 0
    yield (
        closed,
        "deploy/.env 仅本人可读" if closed else "deploy/.env 他人可读,请执行 chmod 600 deploy/.env",
        "who may read deploy/.env",
    )
    wanted = ["postgres_admin", "secrets.json", "clients.json", "gateway.nats"]
    wanted += [f"{service}.{part}" for service in SERVICES for part in PARTS]
    wanted += [f"vault/{service}.json" for service in SERVICES]
    missing = [name for name in wanted if not (SECRETS / name).is_file()]
    empty = [n for n in wanted if n not in missing and (SECRETS / n).stat().st_size < 16]
    odd = missing + empty
    yield (
        not odd,
        "密钥文件齐全" if not odd else f"密钥文件缺少或为空:{', '.join(odd)},请执行 make secrets",
        "secret files" if not odd else "missing or empty: run make secrets",
    )
    outside = {
        "wechat": ("merchant.json", "merchant_key.pem", "apiv3_key"),
        "sf": ("account.json",),
    }
    lacking = [f"{party}/{name}" for party, names in outside.items() for name in names
               if not (SECRETS / "outside" / party / name).is_file()]  # fmt: skip
    yield (
        not lacking,
        "支付与快递的密钥齐全" if not lacking
        else f"deploy/secrets/outside/ 缺少 {', '.join(lacking)}(来自微信支付与顺丰)",
        "keys of payment and courier" if not lacking else "put there what they gave you",
    )  # fmt: skip


def _address() -> Iterator[tuple[bool, str, str]]:
    now = settings()
    issuer, domain, port = (now.get(n, "") for n in ("BEAM_ISSUER", "BEAM_DOMAIN", "HTTPS_PORT"))
    shown = f"https://{domain}" + ("" if port == "443" else f":{port}")
    same = bool(domain) and issuer == shown
    yield (
        same,
        f"公开地址 {issuer}" if same
        else f"BEAM_ISSUER={issuer} 与 BEAM_DOMAIN、HTTPS_PORT 不一致,应为 {shown}",
        "the public address" if same else "these three settings contradict each other",
    )  # fmt: skip
    if port.isdigit() and not docker("ps", "-q", "--filter", f"publish={port}"):
        bind = now.get("HTTPS_BIND", "127.0.0.1")
        free = _free(bind, int(port))
        yield (
            free,
            f"端口 {port} 空闲" if free else f"端口 {port} 已被占用,请关闭占用者或改 HTTPS_PORT",
            "the port" if free else "the port is taken: free it, or change HTTPS_PORT",
        )
    trial = "sandbox" in now.get("COMPOSE_PROFILES", "").split(",")
    production = now.get("BEAM_ENVIRONMENT", "production") == "production"
    yield (
        trial != production,
        "正式环境" if production and not trial
        else "试用:演示账号、模拟支付,不要对外开放" if trial and not production
        else "COMPOSE_PROFILES=sandbox 只能与 BEAM_ENVIRONMENT=test 同用",
        "trial or production" if trial != production else "sandbox goes with test",
    )  # fmt: skip


def _free(host: str, port: int) -> bool:
    with socket.socket() as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind((host, port))
        except OSError:
            return False
    return True


# ---- running


def up() -> int:
    """Start what is missing or changed, wait until all are healthy, say where it is."""
    compose("up", "-d", "--wait", "--remove-orphans", *_kept_scales())
    print(compose("logs", "--no-log-prefix", "--tail", "1", "init", capture=True).strip())
    reload_broker()
    print(f"✓ {settings().get('BEAM_ISSUER')} — make smoke")
    return 0


def _kept_scales() -> list[str]:
    """`up` would take every service back to one replica: keep what somebody scaled."""
    counts: dict[str, int] = {}
    for line in compose("ps", "--format", "json", capture=True).splitlines():
        name = json.loads(line)["Service"]
        counts[name] = counts.get(name, 0) + 1
    return [a for name, n in counts.items() if n > 1 for a in ("--scale", f"{name}={n}")]


def reload_broker() -> int:
    """Let the broker read its accounts again. Clients that keep their rights stay connected."""
    # Twice: the imports of an account that is new to a reload find no responder until the next.
    for _ in range(2):
        compose("kill", "-s", "HUP", "nats", capture=True)
        time.sleep(0.5)
    return 0


def roll(service: str) -> int:
    """Replace every replica of a service without losing a request: new ones first, old ones go
    once the new are healthy. With the image and settings of now."""
    old = compose("ps", "-q", service, capture=True).split()
    if not old:
        fail(f"{service} 没有运行。请执行 make up。", f"{service} does not run: make up.")
    count = len(old)
    compose("up", "-d", "--no-deps", "--no-recreate", "--wait",
            "--scale", f"{service}={2 * count}", service)  # fmt: skip
    for container in old:
        # SIGTERM: it drains, finishes what is in flight, and ends.
        if docker("stop", container) is None or docker("rm", container) is None:
            fail(f"旧容器 {container[:12]} 没有停止。", f"{container[:12]} did not stop.")
    compose("up", "-d", "--no-deps", "--no-recreate", "--scale", f"{service}={count}", service)
    print(f"✓ {service}: {count} 个已更换 / replaced")
    return 0


# ---- keeping


def _server() -> backups.Server:
    """PostgreSQL's own programs, in its container, where its administrator needs no password."""
    return backups.Server(
        prefix=("docker", "compose", "--project-directory", str(DEPLOY), "-f",
                str(DEPLOY / "compose.yaml"), "exec", "-T", "postgres"),
    )  # fmt: skip


def backup(target: Path | None) -> int:
    """All databases and deploy/secrets in one file, while everything runs."""
    made = (target or backups.default_name(DEPLOY / "backups")).resolve()
    manifest = backups.make(_server(), {"secrets": SECRETS}, made, _version())
    print(f"✓ {made}\n  {backups.summary(manifest)}")
    return 0


def _version() -> str:
    return settings().get("BEAM_VERSION", VERSION)


def restore(source: Path) -> int:
    """Put a backup in place of what is there. Everything but PostgreSQL must be stopped."""
    running = set(compose("ps", "--services", capture=True).split()) - {"postgres"}
    if running:
        fail(
            f"平台正在运行({', '.join(sorted(running))}),不能恢复。请先执行 make down。",
            "The platform is running: run make down first.",
        )
    with backups.opened(source.resolve(), _version()) as (folder, manifest):
        _same_keys(folder / "files" / "secrets")
        compose("up", "-d", "--wait", "postgres")
        backups.check_server(_server(), manifest)
        compose("run", "--rm", "--no-deps", "init")
        backups.fill(_server(), folder, manifest)
    # The events that this stream holds may be of a time that is no more. The relays fill a new one.
    compose("rm", "-sf", "nats", "prepare")
    name = json.loads(compose("config", "--format", "json", capture=True))["name"]
    volume = f"{name}_nats-data"
    there = docker("volume", "inspect", volume) is not None
    if there and docker("volume", "rm", volume) is None:
        fail(f"数据卷 {volume} 没有删除。", f"The volume {volume} could not be removed.")
    print(f"✓ {backups.summary(manifest)}\n  make up smoke")
    return 0


def _same_keys(saved: Path) -> None:
    """The sealed rows open only with the keys of their time."""
    odd = backups.same(SECRETS, saved, [f"vault/{service}.json" for service in SERVICES])
    if odd:
        fail(
            f"deploy/secrets/ 的密钥与备份中的不同:{', '.join(odd)}。请把 deploy/secrets/ 移到一旁,"
            "从备份中解出:tar -xf 备份 -C deploy --strip-components 1 files/secrets",
            "The keys in deploy/secrets/ are not those of the backup. Move that folder aside and "
            "take the backup's: tar -xf FILE -C deploy --strip-components 1 files/secrets",
        )


def upgrade() -> int:
    """To the code and settings of now: backup, image, migrations, a rolling restart."""
    before = compose("ps", "--format", "{{.Image}}", "case", capture=True).split()
    backup(None)
    compose("build")
    if (problem := secrets()) != 0:  # what the new version needs beside what there is
        return problem
    compose("up", "--no-deps", "--exit-code-from", "prepare", "prepare")
    reload_broker()
    # Migrations only ever add (expand); the programs of before go on with the new tables.
    compose("up", "--no-deps", "--exit-code-from", "init", "init")
    for service in ROLLABLE:
        roll(service)
    up()
    print(f"  旧镜像 / the image of before: {before[0] if before else '?'}. make smoke")
    return 0


COMMANDS = {
    "secrets": secrets,
    "preflight": preflight,
    "up": up,
    "reload-broker": reload_broker,
    "upgrade": upgrade,
}

if __name__ == "__main__":
    sys.exit(main())
