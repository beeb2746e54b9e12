"""`make preflight`: is this server fit, and what is missing? Each line says what to do."""

from __future__ import annotations

import ipaddress
import json
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from engine import DEPLOY, ENV, SECRETS, SERVICES, docker, settings
from setting_kinds import REQUIRED, mistakes

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
    if ENV.exists():
        odd = mistakes()
        if not odd:
            yield True, "各项设置有效", "the settings"
        for zh, en in odd:
            yield False, zh, en
        yield from _same_secrets()
        if not odd and engine is not None:
            yield from _networks()
            yield from _images()
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


def _same_secrets() -> Iterator[tuple[bool, str, str]]:
    """Each program's own files say what secrets.json says, and what should be JSON is."""
    unlike, broken = [], []
    for file in sorted(SECRETS.rglob("*.json")):
        try:
            json.loads(file.read_text("utf-8"))
        except (ValueError, OSError):
            broken.append(str(file.relative_to(SECRETS)))
    if broken:
        shown = ", ".join(broken)
        yield False, f"deploy/secrets/ 里不是 JSON:{shown}", f"no JSON: {shown}"
    whole = SECRETS / "secrets.json"
    if not whole.is_file() or "secrets.json" in broken:
        return
    known = json.loads(whole.read_text("utf-8"))
    for part in ("database", "nats", "client"):
        for name in (*SERVICES, "gateway"):
            file = SECRETS / f"{name}.{part}"
            said = known.get(part, {}).get(name)
            if said and file.is_file() and file.read_text("utf-8").strip() != said:
                unlike.append(file.name)
    if unlike:
        shown = ", ".join(unlike)
        yield (
            False,
            f"{shown} 与 deploy/secrets/secrets.json 不一致:删去这些文件,再执行 make secrets",
            f"{shown} differ from secrets.json: delete them, then make secrets",
        )


def _networks() -> Iterator[tuple[bool, str, str]]:
    """Docker refuses a subnet that another network has, without naming the setting."""
    now = settings()
    project = now.get("COMPOSE_PROJECT_NAME") or "one-beam"
    there = (docker("network", "ls", "--filter", "driver=bridge", "-q") or "").split()
    form = "{{.Name}} {{range .IPAM.Config}}{{.Subnet}} {{end}}"
    lines = (docker("network", "inspect", "-f", form, *there) or "").splitlines() if there else []
    for setting, default in (
        ("EDGE_SUBNET", "172.28.241.0/24"),
        ("MESH_SUBNET", "172.28.240.0/24"),
    ):
        wanted = ipaddress.ip_network(now.get(setting) or default)
        for name, *subnets in map(str.split, lines):
            if name.startswith(f"{project}_"):
                continue
            for subnet in map(ipaddress.ip_network, subnets):
                if subnet.version == wanted.version and subnet.overlaps(wanted):
                    yield (
                        False,
                        f"{setting}={wanted} 与 Docker 网络 {name}({subnet})重叠,请改用别的网段",
                        f"{setting} overlaps with the network {name}: choose another",
                    )


def _images() -> Iterator[tuple[bool, str, str]]:
    """Not being here is no fault: the first start pulls them, where there is a way out."""
    now, text = settings(), (DEPLOY / "compose.yaml").read_text("utf-8")
    named = re.findall(r"image: \$\{(\w+_IMAGE):-([^}]+)\}\n", text)
    images = [now.get(name) or default for name, default in named]
    absent = [i for i in images if docker("image", "inspect", "-f", "{{.Id}}", i) is None]
    if absent:
        shown = "、".join(absent)
        yield True, f"首次启动时拉取(本机没有):{shown}", "will be pulled at the first start"


def _address() -> Iterator[tuple[bool, str, str]]:
    now = settings()
    if not all(now.get(name) for name in REQUIRED):
        return
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
