"""`make preflight`: is this server fit, and what is missing? Each line says what to do."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from engine import DEPLOY, ENV, SECRETS, docker, settings
from setting_kinds import wrong

MEMORY_MIB, DISK_MIB = 3000, 5000


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
    odd = [] if not ENV.exists() else list(wrong(settings()))
    if ENV.exists() and not odd:
        yield True, "各项设置有效", "the settings"
    for zh, en in odd:
        yield False, zh, en
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
    files = [DEPLOY / "compose.yaml"]
    if settings().get("OBSERVABILITY") == "on":
        files.append(DEPLOY / "observability" / "compose.observability.yaml")
    named = (re.findall(r"\{file: \./secrets/(\S+)\}", file.read_text("utf-8")) for file in files)
    wanted = [name for names in named for name in names]
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
    if (
        port.isdigit()
        and 0 < int(port) < 65536
        and not docker("ps", "-q", "--filter", f"publish={port}")
    ):
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
