"""`beam broker` over three brokers: events kept once come to be kept three times."""

from pathlib import Path

import pytest

from beam import broker as command
from beam.environment import broker_accounts
from beam.place import Place
from beam.secret_store import SecretStore
from beam.trouble import Trouble
from kit.broker import Broker, Nats
from kit.embedded import NatsCluster
from kit.testing import until

pytestmark = pytest.mark.slow


async def test_one_copy_becomes_three(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = SecretStore(tmp_path)
    cluster = NatsCluster.temporary(broker_accounts(store, {"case": ["case__paid"]}))
    try:
        cluster.start()
        monkeypatch.setenv("BEAM_NATS_URL", cluster.url)
        place = Place(tmp_path, 21000)
        case = await Broker.connect(Nats(cluster.url, "case", store.of("nats", "case")), "case")
        await case.stream()
        await case.publish("evt.case.filed.v1._._", b"{}")
        await case.close()

        assert await command.show(place, 3, move=False) == 0
        assert await command.show(place, None, move=True) == 0
        told = capsys.readouterr().out
        assert "replicas 3" in told
        assert told.count("一致 / current") == 4

        cluster.servers[0].stop()
        cluster.servers[1].stop()

        async def without_majority() -> bool:
            try:
                await command.show(place, None, move=False)
            except Trouble as trouble:
                return "majority" in trouble.en
            return False

        # The last one says so, or does not answer: by and by it notices itself that it is alone.
        await until(without_majority, seconds=60)
    finally:
        cluster.stop()


async def test_a_size_that_no_cluster_has(tmp_path: Path) -> None:
    with pytest.raises(Trouble, match="1, 3 or 5"):
        await command.show(Place(tmp_path, 21000), 2, move=False)


def test_who_is_behind_is_seen() -> None:
    def info(*others: dict[str, object]) -> dict[str, object]:
        return {"config": {"num_replicas": 3}, "cluster": {"leader": "a", "replicas": [*others]}}

    here = {"name": "b", "current": True}
    assert command.whole(info(here, {"name": "c", "current": True}))
    assert not command.whole(info(here))
    assert not command.whole(info(here, {"name": "c", "current": False}))
    assert not command.whole(info(here, {"name": "c", "current": True, "offline": True}))
    assert command.whole({"config": {"num_replicas": 1}})
    away = {"name": "c", "current": False, "offline": True}
    assert command.majority({"config": {"num_replicas": 1}})
    assert command.majority(info(here, away))
    assert not command.majority(info({**here, "offline": True}, away))
