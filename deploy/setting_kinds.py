"""What each setting of deploy/.env may say: a wrong one names itself before anything starts."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from engine import ENV, SECRETS, known_settings, settings

Finding = tuple[str, str]
"""Chinese, English: what is wrong and what to write."""
REQUIRED = ("BEAM_ISSUER", "BEAM_DOMAIN", "HTTPS_PORT")
_HOST = r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]*[a-z0-9])?"
PATTERNS: tuple[tuple[str, str, str, str], ...] = (
    # (names, what a value looks like, Chinese, English)
    (r"BEAM_ISSUER", r"https://[^/\s]+", "https:// 开头、末尾无斜杠的地址", "https://… , no path"),
    (r"BEAM_DOMAIN", _HOST, "主机名", "a host name"),
    (r"BEAM_ENVIRONMENT", r"production|test", "production 或 test", "production or test"),
    (r"OBSERVABILITY", r"on|off|", "on 或 off", "on or off"),
    (r"COMPOSE_PROFILES", r"sandbox|", "sandbox 或留空", "sandbox, or nothing"),
    (r"COMPOSE_PROJECT_NAME", r"[a-z0-9][a-z0-9_-]*", "小写字母、数字、-", "lower case letters"),
    (r"BEAM_PARTNER_DEPTS", r"([A-Z][A-Z0-9]*(-[A-Za-z0-9]+)?(,(?!$)|$))*",
     "部门代码,以英文逗号分隔", "codes with commas"),
    (r"BEAM_TLS", r"tls internal|tls \S+@\S+|tls /run/tls/\S+ /run/tls/\S+",
     "tls internal、tls 邮箱,或 tls 证书 私钥", "one of the three forms in env.example"),
    (r"BEAM_VERSION", r"[\w][\w.-]*", "镜像标签", "a tag of an image"),
    (r"BEAM_IMAGE", r"[a-z0-9][\w./:-]*", "镜像名", "the name of an image"),
    (r"\w+_IMAGE", r"\S+(:(?!latest$)[\w][\w.-]*|@sha256:[0-9a-f]{64})",
     "带版本(非 latest)或摘要的镜像", "an image with its version (not latest) or digest"),
    (r"\w+_KEYS", r"/run/keys/[\w-]+|", "/run/keys/某方", "/run/keys/<party>"),
    (r"TRACES", r"https?://\S+|", "http(s):// 地址", "an http(s):// URL"),
    (r"TRACES_RATIO", r"0|1|1\.0+|0?\.\d+", "0 到 1 的数", "a number from 0 to 1"),
    (r"PROMETHEUS_KEEP", r"[1-9]\d*(h|d|w|y)", "如 30d", "like 30d"),
    (r"UPSTREAM_OIDC_ISSUER", r"https?://\S+[^/\s]|", "https:// 地址,末尾无斜杠", "https://…"),
    (r"UPSTREAM_OIDC_LEVELS", r'\{("[^"]+":\s*"L[1-4]",?\s*)*\}|',
     '如 {"LOA2":"L2"}', 'like {"LOA2":"L2"}'),
    (r"SERVERS", r"here|elsewhere|", "here 或 elsewhere", "here or elsewhere"),
    (r"NATS_URL", r"nats://[^\s,]+(,nats://[^\s,]+)*|", "nats:// 地址,以英文逗号分隔",
     "nats:// addresses with commas"),
    (r"NATS_REPLICAS", r"[135]", "1、3 或 5", "1, 3 or 5"),
    (r"POSTGRES_HOST", r"[\w.:-]+|", "主机:端口", "host:port"),
    (r"\w+_URL", r"https?://\S+|", "http(s):// 地址", "an http(s):// URL"),
    (r"POSTGRES_SHARED_BUFFERS", r"[1-9]\d*(kB|MB|GB)", "如 256MB", "like 256MB"),
    (r"\w+_MEMORY", r"[1-9]\d*(\.\d+)?[bkmgBKMG]?", "如 256m", "like 256m"),
    (r"START_PERIOD", r"[1-9]\d*s", "如 120s", "like 120s"),
    (r"\w+_CPUS", r"\d*\.?\d+", "如 2 或 0.5", "like 2 or 0.5"),
    (r"POSTGRES_UID|POSTGRES_CONNECTIONS|DATABASE_POOL|GATEWAY_\w+", r"[1-9]\d*",
     "正整数", "a whole number"),
    (r"DATABASE_OVERFLOW", r"\d+", "整数", "a whole number"),
)  # fmt: skip


def mistakes() -> list[Finding]:
    """All that is wrong with the settings of this installation."""
    if not ENV.exists():
        return [("没有 deploy/.env,请执行 make secrets", "no deploy/.env: run make secrets")]
    return [*unreadable(), *wrong(settings())]


def unreadable() -> Iterator[Finding]:
    """Lines of deploy/.env that Compose and we could take for different things."""
    seen: dict[str, int] = {}
    for number, line in enumerate(ENV.read_text("utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not re.fullmatch(r"[A-Z_]+", name) or value[:1] in (" ", "\t"):
            shown = re.sub(r"\W*=.*", "", line).strip()
            yield (
                f"deploy/.env 第 {number} 行({shown}):应写成 NAME=值,大写,等号两边无空格",
                f"deploy/.env, line {number} ({shown}): write NAME=value, upper case, no spaces",
            )
        elif " #" in value:
            yield (
                f"deploy/.env 第 {number} 行({name}):值后面不要写注释,请另起一行",
                f"deploy/.env, line {number} ({name}): no remark behind a value",
            )
        elif name in seen:
            yield (
                f"{name} 写了两次:deploy/.env 第 {seen[name]}、{number} 行",
                f"{name} is there twice: deploy/.env, lines {seen[name]} and {number}",
            )
        seen[name] = number


def wrong(now: Mapping[str, str]) -> Iterator[Finding]:
    """What is wrong with these settings, each finding with the setting's name."""
    known = known_settings()
    for name in REQUIRED:
        if not now.get(name):
            yield f"{name} 没有设置", f"{name} is not set"
    for name, value in now.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            yield (
                f"{name} 不是设置项" + (f",是否应为 {close[0]}?" if close else ""),
                f"{name} is no setting" + (f": did you mean {close[0]}?" if close else ""),
            )
            continue
        for names, pattern, zh, en in PATTERNS:
            if re.fullmatch(names, name):
                if not re.fullmatch(pattern, value):
                    yield f"{name}={value},应为{zh}", f"{name}: expected {en}"
                break
        else:
            for names, check in CHECKS:
                if re.fullmatch(names, name) and not check(value):
                    yield f"{name}={value} 不对,见 env.example", f"{name}: see env.example"
    yield from _together(now)


def _port(value: str) -> bool:
    return value.isdigit() and 0 < int(value) < 65536


def _address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def _network(value: str) -> bool:
    try:
        return ipaddress.ip_network(value).version == 4
    except ValueError:
        return False


CHECKS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    (r"\w+_PORT", _port),
    (r"\w+_BIND", _address),
    (r"\w+_SUBNET", _network),
)


def _together(now: Mapping[str, str]) -> Iterator[Finding]:
    """What contradicts something else."""
    production = now.get("BEAM_ENVIRONMENT", "production") == "production"
    if now.get("SERVERS") == "elsewhere":
        for name in ("POSTGRES_HOST", "NATS_URL"):
            if not now.get(name):
                yield f"SERVERS=elsewhere,但 {name} 没有设置", f"{name} is not set, see scale.md"
    for name, value in now.items():
        if re.fullmatch(r"\w+_KEYS", name) and value.startswith("/run/keys/"):
            folder = SECRETS / "outside" / Path(value).name
            if not folder.is_dir() or not any(folder.iterdir()):
                yield (
                    f"{name}={value},但 deploy/secrets/outside/{folder.name}/ 里没有文件",
                    f"{name}: there is nothing in deploy/secrets/outside/{folder.name}/",
                )
        if "//sandbox:" in value and production:
            yield f"{name} 指向 sandbox,正式环境请改为真实地址", f"{name} leads to the sandbox"
    for file in re.findall(r"/run/tls/(\S+)", now.get("BEAM_TLS", "")):
        if not (SECRETS / "tls" / file).is_file():
            yield f"BEAM_TLS:没有 deploy/secrets/tls/{file}", f"BEAM_TLS: no such file {file}"
    edge = now.get("EDGE_SUBNET", "172.28.241.0/24")
    mesh = now.get("MESH_SUBNET", "172.28.240.0/24")
    both = _network(edge) and _network(mesh)
    if both and ipaddress.ip_network(edge).overlaps(ipaddress.ip_network(mesh)):
        yield "EDGE_SUBNET 与 MESH_SUBNET 重叠", "EDGE_SUBNET and MESH_SUBNET overlap"
    counts = (now.get("DATABASE_POOL", "5"), now.get("DATABASE_OVERFLOW", "3"),
              now.get("POSTGRES_CONNECTIONS", "200"))  # fmt: skip
    if all(c.isdigit() for c in counts):
        pool, overflow, limit = map(int, counts)
        # Eight services; while one is replaced there are two of it.
        needed = 9 * (pool + overflow + 4) + 10
        if needed > limit:
            yield (
                f"POSTGRES_CONNECTIONS={limit} 不够:各服务一个副本、逐个更换时需要 {needed}",
                f"POSTGRES_CONNECTIONS: {needed} are needed with one replica of each service",
            )
