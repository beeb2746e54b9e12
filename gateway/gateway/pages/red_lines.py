"""The red lines of `/ops`: each names one thing that is wrong, and what to do about it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any

from kit.seals import words
from kit.seals.checks import Finding
from kit.views import View

from ..refusals import NAMES
from . import reconciliation
from .layout import code, moment

BACKUP_HOURS = 26
"""A daily backup, and two hours for it."""
DISK_PERCENT = 10


@dataclass(frozen=True)
class Line:
    """One thing that is wrong: what, and what to do; HTML."""

    what: str
    do: str


def name(service: str, view: View) -> str:
    return escape(f"{view.t(*NAMES[service])} ({service})")


def found(said: dict[str, Any], view: View) -> Iterator[Line]:
    """`said` is what `GET /v1/ops` answers."""
    t = view.t
    for service in said["unreachable"]:
        yield Line(
            f"{name(service, view)} {t('没有回答', 'gives no answer')}",
            t("先刷新一次;仍没有回答,看日志:", "Refresh once; still none: see its log: ")
            + code(f"make logs ARGS='{service} --since 10m'")
            + t(";重启:", "; restart: ")
            + code(f"make roll SERVICE={service}")
            + t("。不用容器时看 ", ". Without containers: ")
            + code(f"$BEAM_DATA/logs/{service}.log")
            + t(",它会自动重启。", "; it is started again by itself."),
        )
    for service in said["not_ready"]:
        reasons = ", ".join(said["services"][service].get("reasons", []))
        yield Line(
            f"{name(service, view)} {t('未就绪', 'is not ready')}: {escape(reasons)}",
            t(
                "postgres:看数据库与磁盘;nats:启动消息服务,事件不会丢;migrations:执行迁移。",
                "postgres: see the database and its disk; nats: start the broker, no event is "
                "lost; migrations: migrate.",
            ),
        )
    for service, count in said["dead_letters"].items():
        link = f'<a href="/ops/dead-letters/{service}">{t("原因与重新处理", "Why, and again")}</a>'
        yield Line(
            f"{name(service, view)} {t(f'有 {count} 条死信', f'has {count} dead letters')}",
            f"{link} {t('先修好原因,再逐条重新处理。', 'Mend the cause, then handle each again.')} "
            + code(f"GET /v1/ops/{service}/dead-letters"),
        )
    for service, count in said["late_events"].items():
        yield Line(
            f"{name(service, view)} "
            + t(f"有 {count} 个事件没有发出", f"has {count} events that were not sent"),
            t(
                "NATS 是否在运行、磁盘是否已满?恢复后自动补发,不要清空任何东西。",
                "Does NATS run, is its disk full? They are sent by themselves afterwards: empty "
                "nothing.",
            ),
        )
    yield from _of_checks(said, view)
    for service in said["sealed_elsewhere"]:
        yield Line(
            f"{name(service, view)} "
            + t("的封存链与留在数据交换处的链头不符", ": its sealed records end before the head "
                "that the exchange knows"),
            escape(t(*words.RESTORED)),
        )  # fmt: skip
    if len(said["versions"]) > 1:
        each = "; ".join(f"{v}: {', '.join(s)}" for v, s in said["versions"].items())
        yield Line(
            f"{t('同时运行多个版本', 'Several versions run')}: {escape(each)}",
            t("升级中属正常;升级已结束则补做 ", "Normal during an upgrade; else finish it: ")
            + code("make upgrade"),
        )
    if said["overdue_tasks"]:
        count = said["overdue_tasks"]
        yield Line(
            t(f"{count} 项审批已超期", f"{count} tasks of departments are overdue"),
            t("通知下表中的部门和督办人员。", "Tell the departments below, and supervision."),
        )
    if said["refused_refunds"]:
        count = said["refused_refunds"]
        yield Line(
            t(f"{count} 笔退款被渠道拒绝", f"{count} refunds were refused by the channel"),
            f"{code('GET /v1/refunds?state=error')} "
            + t("逐笔在商户平台处理。", "lists them; see to each at the channel."),
        )
    yield from _of_ground(said, view)
    for what, do in reconciliation.red(said["reconciliation"], view):
        yield Line(what, do)
    if _backup_is_old(said):
        yield Line(t("超过一天没有备份", "No backup for more than a day"), code("make backup"))


def _of_ground(said: dict[str, Any], view: View) -> Iterator[Line]:
    """What all services stand on: brokers, certificate, disk."""
    t = view.t
    copies = said["event_copies"]
    if copies is not None and copies["kept"] < copies["wanted"]:
        kept, wanted = copies["kept"], copies["wanted"]
        yield Line(
            t(
                f"事件只存在 {kept} 个消息服务上,应为 {wanted} 个",
                f"events lie on {kept} of {wanted} brokers",
            ),
            t("哪一个不在:", "Which is away: ")
            + code("make broker")
            + t("。都在:", ". None: ")
            + code(f'make broker ARGS="--replicas {wanted}"'),
        )
    if said["certificate"] is not None and said["certificate"]["ends_soon"]:
        yield Line(
            t("公开地址的证书将于 ", "The certificate of the public address ends at ")
            + moment(said["certificate"]["ends_at"])
            + t(" 到期", ""),
            t(
                "自动续期没有成功,或自备证书要换:见 deploy/RUNBOOK.md。",
                "It was not renewed by itself, or yours has to be replaced: deploy/RUNBOOK.md.",
            ),
        )
    if said["disk_free_percent"] is not None and said["disk_free_percent"] < DISK_PERCENT:
        left = said["disk_free_percent"]
        yield Line(
            t(f"磁盘只剩 {left}%", f"{left} % of the disk is left"),
            t(
                "在写满之前腾出空间:旧的备份、镜像、日志;见 docs/operations.md 的 DiskFilling。",
                "Make room before it is full: old backups, images, logs; see DiskFilling in "
                "docs/operations.md.",
            ),
        )


def _of_checks(said: dict[str, Any], view: View) -> Iterator[Line]:
    t = view.t
    for failed in said["failed_checks"]:
        service, _, check = failed.partition("/")
        result = said["services"][service]["checks"][check]
        if check == "audit_heads":
            yield from _forks(result["broken"], view)
            continue
        if check != "audit":
            do = {
                "ledger": t(
                    "停止退款,保留数据库原状,与渠道账单核对。",
                    "Stop refunds, keep the database as it is, compare with the channel's bill.",
                ),
            }.get(check, t("见 docs/operations.md。", "See docs/operations.md."))
            wrong = t("账目核对不通过", "books do not hold")
            yield Line(f"{name(service, view)} {wrong}: {escape(check)}", do)
            continue
        findings = [
            Finding(service, f["kind"], f["block"], f["table"], f["row"])
            for f in result["findings"]
        ]
        told = "<br>".join(escape(t(*words.told(finding))) for finding in findings)
        yield Line(told, escape(t(*words.advice(findings))))


def _forks(broken: list[str], view: View) -> Iterator[Line]:
    """Blocks, as `<service> <block>`, that the exchange was told in two ways."""
    t = view.t
    for service, _, block in (place.partition(" ") for place in broken):
        yield Line(
            f"{name(service, view)} "
            + t(
                f"第 {escape(block)} 块与此前告知数据交换的不同:封存链分了叉",
                f"block {escape(block)} is not what the exchange was told before: its chain of "
                "sealed records has forked",
            ),
            escape(t(*words.TAMPERED)),
        )


def _backup_is_old(said: dict[str, Any]) -> bool:
    if said["backup_at"] is None:
        return not said["unreachable"]
    age = datetime.now(UTC) - datetime.fromisoformat(said["backup_at"])
    return age.total_seconds() > BACKUP_HOURS * 3600
