"""The sealed records of every service, looked at and accepted in one go; called by host.py."""

from __future__ import annotations

import getpass
import json
import subprocess

from engine import SERVICES, command, fail


def audit_verify() -> int:
    """Every row of every service; 1 when something does not fit."""
    return _in_each("verify")


def audit_accept(reason: str) -> int:
    """After a restore: say who put the backup back and why, so that sealing goes on. What does not
    come from a restore is left as it is, and the exit code is 1."""
    if not reason.strip():
        fail(
            '请写明原因:make audit-accept REASON="恢复 … 的备份"。',
            'Say why: make audit-accept REASON="the backup of … was put back".',
        )
    return _in_each("accept", "--restored", "--reason", reason, "--by", getpass.getuser())


def _in_each(word: str, *options: str) -> int:
    """Run `beam audit WORD SERVICE` in each service's container, also when one of them fails; each
    is given the heads that exchange-svc knows of it."""
    odd = 0
    heads = _heads()
    for service in SERVICES:
        inside = ["exec", "-T", service, "python", "-m", "beam", "audit", word, service, *options]
        mine = "".join(x for x in heads if json.loads(x)["service"] == service)
        if mine:
            inside += ["--heads", "-"]
        done = subprocess.run([*command(), *inside], input=mine, text=True, check=False)
        odd |= done.returncode != 0
    return int(odd)


def _heads() -> list[str]:
    """What `beam audit heads` prints in the container of exchange-svc; nothing where it is away."""
    inside = ("exec", "-T", "exchange", "python", "-m", "beam", "audit", "heads")
    done = subprocess.run([*command(), *inside], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        print(
            "! 数据交换没有回答,只与本机的锚定文件核对 / exchange does not answer: compared with "
            "this host's anchor files alone"
        )
        return []
    return done.stdout.splitlines(keepends=True)
