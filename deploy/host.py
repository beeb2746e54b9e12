"""What an operator does on the host around `docker compose`; called by the Makefile.

    python3 deploy/host.py secrets | preflight | up | reload-broker | roll SERVICE|all
    python3 deploy/host.py backup [FILE] | restore FILE | upgrade | accounts FOLDER
    python3 deploy/host.py audit-verify | audit-accept REASON
    python3 deploy/host.py compose WORDS…      docker compose with our files

Needs Python 3.9 and Docker, nothing installed beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE)]

from auditing import audit_accept, audit_verify  # noqa: E402
from engine import (  # noqa: E402
    DEPLOY,
    SERVICES,
    command,
    compose,
    docker,
    fail,
    servers_here,
    settings,
)
from keeping import backup, backups, restore  # noqa: E402
from made_once import accounts, secrets  # noqa: E402
from preflight import preflight  # noqa: E402
from setting_kinds import mistakes  # noqa: E402
from unwell import unwell  # noqa: E402

HELPS = {
    "secrets": "生成 deploy/.env 与密钥,只补不改 / settings and secrets; only adds",
    "preflight": "启动前检查主机、设置、密钥 / check host, settings, secrets",
    "up": "启动并等待就绪;不就绪时说明原因 / start, wait until healthy, else say why",
    "reload-broker": "NATS 重读账号 / let the broker read its accounts again",
    "audit-verify": "核对全部封存记录 / check the sealed records of every service",
    "roll": "逐个更换容器,不丢请求 / replace containers one by one, no request lost",
    "backup": "备份到一个文件 / everything in one file",
    "restore": "恢复备份;先 make down / put a backup in place; make down first",
    "upgrade": "备份、构建、迁移、逐个更换 / backup, build, migrate, replace one by one",
    "accounts": "为别处的 NATS 写账号 / accounts.conf for brokers elsewhere",
    "audit-accept": "恢复后确认,封存继续 / after a restore: sealing goes on",
}
ROLLABLE = (*SERVICES, "gateway")
SINGLE = ("postgres", "nats", "proxy")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="host.py",
        epilog="例 / example: python3 deploy/host.py roll case; "
        "python3 deploy/host.py compose ps. 退出码 / exit codes: 0 成功 / done; 其他:最后几行说明"
        "原因 / others: the last lines say why.",
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=HELPS[name], description=HELPS[name])

    for name in ("secrets", "preflight", "up", "reload-broker", "audit-verify"):
        add(name)
    add("roll").add_argument("service", choices=(*ROLLABLE, "all"))
    add("backup").add_argument("file", nargs="?", type=Path)
    add("restore").add_argument("file", type=Path)
    add("upgrade")
    add("accounts").add_argument("folder", type=Path)
    add("audit-accept").add_argument("reason")
    if sys.argv[1:2] == ["compose"]:
        os.execvp("docker", [*command(), *sys.argv[2:]])
    wanted = parser.parse_args()
    try:
        if wanted.command == "roll":
            return max(map(roll, ROLLABLE if wanted.service == "all" else [wanted.service]))
        if wanted.command == "backup":
            return backup(wanted.file)
        if wanted.command == "restore":
            return restore(wanted.file)
        if wanted.command == "accounts":
            return accounts(wanted.folder.resolve())
        if wanted.command == "audit-accept":
            return audit_accept(wanted.reason)
        return COMMANDS[wanted.command]()
    except backups.Refused as problem:
        fail(problem.zh, problem.en)


# ---- running


def up() -> int:
    """Start what is missing or changed, wait until all are healthy, say where it is."""
    _settings_are_right()
    words = ["up", "-d", "--wait", "--remove-orphans", *_kept_scales()]
    if subprocess.run([*command(), *words], check=False).returncode != 0:
        print("\n".join(unwell()))
        fail(
            "没有全部起来,各容器的话见上。改好后再执行 make up;make preflight 检查设置。",
            "Not everything came up, see above. Mend it and run make up again; make preflight "
            "looks at the settings.",
        )
    print(compose("logs", "--no-log-prefix", "--tail", "1", "init", capture=True).strip())
    reload_broker()
    print(f"✓ {settings().get('BEAM_ISSUER')} — make smoke")
    return 0


def _settings_are_right() -> None:
    if odd := mistakes():
        fail("设置:" + ";".join(zh for zh, _ in odd), "; ".join(en for _, en in odd))


def _kept_scales() -> list[str]:
    """`up` would take every service back to one replica: keep what somebody scaled."""
    counts: dict[str, int] = {}
    for line in compose("ps", "--format", "json", capture=True).splitlines():
        name = json.loads(line)["Service"]
        counts[name] = counts.get(name, 0) + 1
    return [a for name, n in counts.items() if n > 1 for a in ("--scale", f"{name}={n}")]


def reload_broker() -> int:
    """Let the broker read its accounts again. Clients that keep their rights stay connected."""
    if not servers_here():
        print("! NATS 在别处:账号有变化时见 docs/scale.md 第 2 节 / accounts of brokers elsewhere")
        return 0
    # Twice: the imports of an account that is new to a reload find no responder until the next.
    # (Not by `docker kill`: whatever the signal, the engine would take the container for one that
    # somebody stopped, and start it no more, neither after a crash nor with the host.)
    for _ in range(2):
        compose("exec", "-T", "nats", "nats-server", "--signal", "reload=1", capture=True)
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


def upgrade() -> int:
    """To the code and settings of now: backup, image, migrations, a rolling restart, a look."""
    _settings_are_right()
    if settings().get("BEAM_VERSION", "").startswith("before-"):
        fail(
            "BEAM_VERSION 还指向退回时的镜像。请先改回(或删去)再升级。",
            "BEAM_VERSION names the image that was gone back to: change it, or leave it out.",
        )
    before = _image_that_runs()
    changed = _to_be_replaced()
    if "nats" in changed:
        print(
            "! nats 的设置有变化,最后会重启几秒:请求照常,事件晚几秒到 / the broker starts anew at "
            "the end: requests go on, events come some seconds later"
        )
    if loud := [name for name in changed if name != "nats"]:
        print(
            f"! {', '.join(loud)} 的设置有变化,最后会重启几秒,期间请求会失败 / "
            "will be restarted at the end, for some seconds requests fail"
        )
    saved = backups.default_name(DEPLOY / "backups")
    if servers_here():
        backup(saved)
    else:
        print("! PostgreSQL 在别处,这里不备份 / elsewhere: its backup is made there")
    compose("build", "init")
    if (problem := secrets()) != 0:  # what the new version needs beside what there is
        return problem
    compose("run", "--rm", "--no-deps", "prepare")
    reload_broker()
    # Migrations only ever add (expand); the programs of before go on with the new tables.
    compose("run", "--rm", "--no-deps", "init")
    for service in ROLLABLE:
        roll(service)
    up()
    print(
        f"退回程序(数据保留) / back to the program of before, the data stays:\n"
        f"  deploy/.env: BEAM_VERSION={before} → make roll SERVICE=all up smoke"
    )
    if servers_here():
        print(
            f"连同数据 / with the data of before:\n"
            f"  make down → make restore FILE={os.path.relpath(saved)} → make up smoke"
        )
    compose("--profile", "ops", "run", "--rm", "--no-deps", "smoke")
    return 0


def _to_be_replaced() -> list[str]:
    """Which of those that there can be only one of run with other settings than those of now."""
    changed = []
    single = SINGLE if servers_here() else ("proxy",)
    for line in compose("config", "--hash", ",".join(single), capture=True).splitlines():
        name, wanted = line.split()
        label = '{{index .Config.Labels "com.docker.compose.config-hash"}}'
        running = compose("ps", "-q", name, capture=True).split()
        changed += [name for c in running if docker("inspect", "-f", label, c) != wanted]
    return changed


def _image_that_runs() -> str:
    """A tag for the image that runs now: building takes away the one it has."""
    running = compose("ps", "-q", "case", capture=True).split()
    if not running:
        fail("平台没有运行。请执行 make up。", "The platform does not run: make up.")
    tag = time.strftime("before-%Y%m%d-%H%M%S")
    name = settings().get("BEAM_IMAGE", "one-beam")
    if (
        docker("tag", docker("inspect", "-f", "{{.Image}}", running[0]) or "", f"{name}:{tag}")
        is None
    ):
        fail("当前镜像没有保留下来。", "The image that runs could not be kept.")
    return tag


COMMANDS = {
    "secrets": secrets,
    "preflight": preflight,
    "up": up,
    "reload-broker": reload_broker,
    "upgrade": upgrade,
    "audit-verify": audit_verify,
}

if __name__ == "__main__":
    sys.exit(main())
