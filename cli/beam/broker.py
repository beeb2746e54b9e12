"""`beam broker`: how the events are kept, who leads, who is behind; and to change the first two."""

import asyncio
import os
from pathlib import Path
from typing import Any

import nats.errors
from rich.console import Console
from rich.table import Table

from kit.broker import STREAM, Broker, BrokerLost, Nats, NoResponders, Refused

from .installation import RUN_SECRETS, departments
from .place import Place
from .secret_store import OPERATOR, SecretStore
from .trouble import Trouble

SIZES = (1, 3, 5)
_PATIENCE = 60


async def show(place: Place, replicas: int | None, *, move: bool) -> int:
    """Do what is asked, wait until every server holds the same, print the picture.

    `replicas` as in kit.settings; `move`: another server leads the stream, before the present one
    is taken down. Returns 1 when a server is away or behind. Raises Trouble, also without a
    majority: a leader that is alone may go on answering, but keeps nothing any more."""
    if replicas is not None and replicas not in SIZES:
        raise Trouble(
            f"--replicas 只能是 1、3 或 5,不能是 {replicas}。",
            f"--replicas is 1, 3 or 5, not {replicas}.",
        )
    broker = await _open(place)
    try:
        if replicas is not None:
            await _keep_on(broker, replicas)
        if move:
            await broker.api(f"STREAM.LEADER.STEPDOWN.{STREAM}")
        info = await _settled(broker) if replicas or move else await _stream(broker)
        listed = await broker.api(f"CONSUMER.LIST.{STREAM}", {"offset": 0})
    except Refused as refusal:
        raise Trouble(f"NATS 拒绝:{refusal}", f"NATS refuses: {refusal}") from None
    except (BrokerLost, NoResponders, TimeoutError) as error:
        raise Trouble(
            f"NATS 没有回答({type(error).__name__})。集群是否失去了多数节点?",
            f"NATS does not answer ({type(error).__name__}). Has the cluster lost its majority?",
        ) from None
    finally:
        await broker.close()
    _print(info, listed["consumers"])
    if not majority(info):
        raise Trouble(
            "NATS 集群失去了多数节点:事件暂存在各服务的 outbox,节点回来后自动补发。",
            "The NATS cluster has lost its majority: events wait in the outboxes of the services, "
            "and are sent when its servers are back.",
        )
    return 0 if whole(info) else 1


def whole(info: dict[str, Any]) -> bool:
    """Whether as many servers hold the stream as it wants, and all of them all of it.
    `info`: the broker's answer to STREAM.INFO."""
    cluster = info.get("cluster") or {}
    others = cluster.get("replicas") or []
    alone = info["config"]["num_replicas"] == 1
    return (
        len(others) + 1 == info["config"]["num_replicas"]
        and all(other.get("current") and not other.get("offline") for other in others)
        and bool(alone or cluster.get("leader"))
    )


def majority(info: dict[str, Any]) -> bool:
    """Whether more than half of the servers that hold the stream are there, as far as the leader
    knows. `info` as in `whole`."""
    others = (info.get("cluster") or {}).get("replicas") or []
    away = sum(bool(other.get("offline")) for other in others)
    return bool(2 * away < info["config"]["num_replicas"])


async def _open(place: Place) -> Broker:
    folder = RUN_SECRETS if (RUN_SECRETS / "secrets.json").exists() else place.data
    url = os.environ.get("BEAM_NATS_URL") or f"nats://127.0.0.1:{place.nats_port}"
    if not Path(folder, "secrets.json").exists():
        raise Trouble(
            f"{folder} 中没有密钥:平台还没有在这里启动过。",
            f"No secrets in {folder}: the platform was never started here.",
        )
    systems = departments()
    store = SecretStore(folder, *([systems] if systems else []), may_write=False)
    try:
        return await Broker.connect(Nats(url, OPERATOR, store.of("nats", OPERATOR)), OPERATOR)
    except (OSError, TimeoutError, nats.errors.Error) as error:
        raise Trouble(
            f"无法连接 NATS({url}:{type(error).__name__})。",
            f"Cannot connect to NATS ({url}: {type(error).__name__}).",
        ) from None


async def _stream(broker: Broker) -> dict[str, Any]:
    return await broker.api(f"STREAM.INFO.{STREAM}")


async def _keep_on(broker: Broker, replicas: int) -> None:
    config = (await _stream(broker))["config"]
    if config["num_replicas"] != replicas:
        await broker.api(f"STREAM.UPDATE.{STREAM}", config | {"num_replicas": replicas})


async def _settled(broker: Broker) -> dict[str, Any]:
    """The stream when all its servers are there, or as it is when they do not come."""
    for _ in range(_PATIENCE * 4):
        try:
            if whole(info := await _stream(broker)):
                return info
        except (Refused, TimeoutError, NoResponders):
            pass  # between two leaders there is nobody to answer
        await asyncio.sleep(0.25)
    return await _stream(broker)


def _print(info: dict[str, Any], consumers: list[dict[str, Any]]) -> None:
    cluster, state = info.get("cluster") or {}, info["state"]
    console = Console(highlight=False)
    console.print(
        f"{STREAM}: {state['messages']} 条事件 / events, {state['bytes'] / 1e6:.1f} MB, "
        f"副本 / replicas {info['config']['num_replicas']}"
    )
    if cluster:
        console.print(f"  主 / leads    {cluster.get('leader') or '—'}")
    for other in cluster.get("replicas") or []:
        how = "离线 / away" if other.get("offline") else "一致 / current"
        if not other.get("current") and not other.get("offline"):
            how = f"落后 / behind by {other.get('lag', '?')}"
        console.print(f"  副本 / keeps  {other['name']}  {how}")
    table = Table(box=None, pad_edge=False)
    for title in ("消费者 / consumer", "待取 / waits", "未确认 / unanswered", "重发 / again"):
        table.add_column(title)
    for consumer in sorted(consumers, key=lambda c: (-c["num_pending"], c["name"])):
        table.add_row(
            consumer["name"],
            *(str(consumer[k]) for k in ("num_pending", "num_ack_pending", "num_redelivered")),
        )
    console.print(table)
