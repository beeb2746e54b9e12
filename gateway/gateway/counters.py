"""What is counted at the door, and its form for Prometheus."""

from bisect import bisect_left
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from .table import OWN, SERVICES

if TYPE_CHECKING:
    from .beam import Beam
    from .exchange import Exchange

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class _Line:
    """Answers of one service with one status."""

    __slots__ = ("buckets", "count", "seconds")

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0
        self.buckets = [0] * (len(BUCKETS) + 1)


class Counters:
    """Plain numbers, written by the event loop alone, read by the scraper."""

    def __init__(self) -> None:
        self.lines: dict[str, dict[int, _Line]] = {"none": {}, OWN: {}}
        for service in SERVICES:
            self.lines[service] = {}

    def seen(self, x: "Exchange", seconds: float) -> None:
        """Count one answer. The pages of the house themselves are not counted."""
        status = x.status
        if not status:
            return
        lines = self.lines["none" if x.route is None else x.route.service]
        line = lines.get(status)
        if line is None:
            line = lines[status] = _Line()
        line.count += 1
        line.seconds += seconds
        line.buckets[bisect_left(BUCKETS, seconds)] += 1


class BeamCollector(Collector):
    """`beam_gateway_*` from the counters of one Beam."""

    def __init__(self, beam: "Beam") -> None:
        self._beam = beam

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "beam_gateway_requests", "Answers by service and status", labels=("service", "status")
        )
        seconds = HistogramMetricFamily(
            "beam_gateway_request_seconds", "Time to the end of the answer"
        )
        # By service only sum and count: the buckets of nine would be more than all else here.
        by_service = SummaryMetricFamily(
            "beam_gateway_service_seconds", "The same by service", labels=("service",)
        )
        whole = _Line()
        merged: dict[str, list[float]] = {}
        found = [(s, *i) for s, own in self._beam.counters.lines.items() for i in list(own.items())]
        for service, status, line in found:
            requests.add_metric((service, str(status)), line.count)
            total = merged.setdefault(service, [0, 0.0])
            total[0] += line.count
            total[1] += line.seconds
            whole.seconds += line.seconds
            whole.buckets = [a + b for a, b in zip(whole.buckets, line.buckets, strict=True)]
        for service, (count, spent) in merged.items():
            by_service.add_metric((service,), int(count), spent)
        running, rows = 0, []
        for bound, number in zip((*map(str, BUCKETS), "+Inf"), whole.buckets, strict=True):
            running += number
            rows.append((bound, running))
        seconds.add_metric((), rows, whole.seconds)
        clients = GaugeMetricFamily("beam_gateway_clients", "Open connections of clients")
        clients.add_metric((), len(self._beam.clients))
        upstream = GaugeMetricFamily(
            "beam_gateway_upstream_connections", "Connections to services", labels=("service",)
        )
        waiting = GaugeMetricFamily(
            "beam_gateway_waiting", "Requests waiting for a connection", labels=("service",)
        )
        shed = CounterMetricFamily(
            "beam_gateway_shed", "Requests turned away for a full queue", labels=("service",)
        )
        away = GaugeMetricFamily(
            "beam_gateway_circuit_open", "1 while a service is left alone", labels=("service",)
        )
        for pool in list(self._beam.pools.values()):
            shed.add_metric((pool.service,), pool.shed)
            away.add_metric((pool.service,), pool.breaker.failures >= pool.breaker.limit)
            upstream.add_metric((pool.service,), len(pool.connections))
            waiting.add_metric((pool.service,), len(pool.waiting))
        cache = self._beam.cache
        cached = CounterMetricFamily(
            "beam_gateway_cache", "Reads of the catalogue by what the cache had", labels=("found",)
        )
        cached.add_metric(("yes",), cache.hits)
        cached.add_metric(("no",), cache.misses)
        held = GaugeMetricFamily("beam_gateway_cache_bytes", "Size of what is kept")
        held.add_metric((), cache.bytes)
        yield from (requests, seconds, by_service, clients, upstream, waiting, shed, away)
        begins = GaugeMetricFamily(
            "beam_gateway_certificate_begin_timestamp_seconds",
            "Since when the certificate of the public address is good",
        )
        ends = GaugeMetricFamily(
            "beam_gateway_certificate_end_timestamp_seconds", "Until when it is good"
        )
        certificate = self._beam.door.certificate
        if certificate is not None:
            begins.add_metric((), certificate.begins.timestamp())
            ends.add_metric((), certificate.ends.timestamp())
        yield from (cached, held, begins, ends)
