"""Figures of a service for Prometheus: names, and what one service exports.

`beam_<what>_<unit>`, base units, `_total` on counters; labels hold services, routes, types and
states, never an id. Every figure has a `service` label, so that services can share a process:
each one's /metrics shows its own.
"""

from collections.abc import Iterator

from prometheus_client import REGISTRY, Counter, Gauge, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from sqlalchemy.pool import QueuePool

from . import http
from .runtime import Runtime
from .versions import BEAM

BUILD = Gauge("beam_build_info", "1, with the version that runs", ["service", "version"])
REPLAYS = Counter(
    "beam_idempotency_replays_total", "Requests answered from their first answer", ["service"]
)
CHANGES = Counter(
    "beam_state_changes_total",
    "Committed moves of cases, payments, refunds, licences … along their states",
    ["service", "thing", "action"],
)
CHECK = Gauge("beam_check_ok", "1 while a service's check of its own books holds",
              ["service", "check"])  # fmt: skip
_POOL = Gauge("beam_db_connections", "Connections to PostgreSQL by use", ["service", "state"])
_POOL_LIMIT = Gauge("beam_db_connections_limit", "Most connections of one process", ["service"])
DISK_FREE = Gauge("beam_disk_free_bytes", "Room on the disk that a service writes to", ["service"])
DISK_TOTAL = Gauge("beam_disk_total_bytes", "Size of that disk", ["service"])
_BREAKER = Gauge("beam_breaker_open", "1 while a peer is left alone", ["service", "peer"])


def exposition(runtime: Runtime) -> bytes:
    """What Prometheus reads of this service now, in its text format."""
    service = runtime.settings.service
    BUILD.labels(service, BEAM).set(1)
    pool = runtime.engine.pool
    if isinstance(pool, QueuePool):
        _POOL.labels(service, "in_use").set(pool.checkedout())
        _POOL.labels(service, "idle").set(pool.checkedin())
    settings = runtime.settings
    _POOL_LIMIT.labels(service).set(settings.database_pool + settings.database_overflow)
    for breaker in http.breakers_of(service):
        _BREAKER.labels(service, breaker.peer).set(breaker.is_open)
    return generate_latest(_Only(service))


class _Only(Collector):
    """The figures of one service, and those of the process."""

    def __init__(self, service: str) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        for metric in REGISTRY.collect():
            mine = Metric(metric.name, metric.documentation, metric.type, metric.unit)
            mine.samples = [
                sample
                for sample in metric.samples
                if sample.labels.get("service", self._service) == self._service
                and not sample.name.endswith("_created")
            ]
            yield mine
