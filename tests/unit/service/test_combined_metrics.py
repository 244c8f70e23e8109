"""One page of metrics for several processes."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.parser import text_string_to_metric_families

from runstream_service.ingest.metrics import IngestMetrics
from runstream_service.monitoring.metrics import Metrics
from runstream_service.query.tail.metrics import TailMetrics
from runstream_service.server import combined_metrics
from runstream_service.server.combined_metrics import CombinedMetrics, Samples, Sums, samples_of
from runstream_service.server.loop_delay import LoopDelay
from runstream_service.tls.metrics import TlsMetrics

# Every gauge of a worker, and how those of several workers are combined: a new gauge needs a decision here.
ADDED_UP = {
    "process_open_fds",
    "process_max_fds",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
    "runstream_database_pool_capacity_connections",
    "runstream_database_pool_connections",
    "runstream_database_pool_connections_in_use",
    "runstream_producers_open",
    "runstream_queue_capacity_points",
    "runstream_queue_points",
    "runstream_streams_capacity",
    "runstream_streams_open",
    "runstream_tail_streams",
}


class Process:
    """The metrics of one process."""

    def __init__(self, *, requests: float = 0, ready: float = 1, oldest: float = 0, seconds: tuple[float, ...] = ()):
        self.registry = CollectorRegistry()
        self.requests = Counter("requests", "Requests.", ["code"], registry=self.registry)
        self.requests.labels("OK").inc(requests)
        Gauge("runstream_ready", "Ready.", registry=self.registry).set(ready)
        Gauge("runstream_queue_oldest_seconds", "Age.", registry=self.registry).set(oldest)
        Gauge("runstream_streams_open", "Streams.", registry=self.registry).set(requests)
        took = Histogram("took_seconds", "Seconds.", buckets=(1, 2), registry=self.registry)
        for value in seconds:
            took.observe(value)

    @property
    def samples(self) -> Samples:
        return samples_of(self.registry)

    async def answer(self) -> Samples | None:
        return self.samples


async def silent() -> Samples | None:
    return None


def values(page: bytes) -> dict[str, float]:
    return {
        sample.name + "".join(sorted(f"{{{name}={value}}}" for name, value in sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


async def rendered(combined: CombinedMetrics, **workers: object) -> dict[str, float]:
    asks = {int(name[1:]): ask for name, ask in workers.items()}
    return values((await combined.render("", asks))[0])  # type: ignore[arg-type]


async def test_counters_and_histograms_are_added_up_and_gauges_are_what_makes_sense() -> None:
    one = Process(requests=3, oldest=2, seconds=(0.5, 1.5))
    other = Process(requests=4, ready=0, oldest=7, seconds=(1.5, 9))
    found = await rendered(CombinedMetrics(CollectorRegistry()), _0=one.answer, _1=other.answer)
    assert found["requests_total{code=OK}"] == 7
    assert [found[f"took_seconds_bucket{{le={le}}}"] for le in ("1.0", "2.0", "+Inf")] == [1, 3, 4]
    assert (found["took_seconds_sum"], found["took_seconds_count"]) == (12.5, 4)
    assert found["runstream_streams_open"] == 7
    assert found["runstream_ready"] == 0, "not all of them are"
    assert found["runstream_queue_oldest_seconds"] == 7


async def test_the_supervisors_own_metrics_are_in_the_sums() -> None:
    found = await rendered(CombinedMetrics(Process(requests=1).registry), _0=Process(requests=2).answer)
    assert found["requests_total{code=OK}"] == 3


async def test_counters_never_go_down_when_a_worker_ends() -> None:
    combined, one, other = CombinedMetrics(CollectorRegistry()), Process(requests=3), Process(requests=4)
    await rendered(combined, _0=one.answer, _1=other.answer)
    other.requests.labels("OK").inc(100)  # and nobody asked it again
    combined.ended(1)
    found = await rendered(combined, _0=one.answer)
    assert found["requests_total{code=OK}"] == 7
    assert found["runstream_streams_open"] == 3, "its streams have ended with it"
    found = await rendered(combined, _0=one.answer, _1=Process(requests=1).answer)
    assert found["requests_total{code=OK}"] == 8


async def test_a_worker_that_does_not_answer_counts_as_when_it_was_asked_last() -> None:
    combined, one = CombinedMetrics(CollectorRegistry()), Process(requests=3)
    await rendered(combined, _0=one.answer)
    assert (await rendered(combined, _0=silent))["requests_total{code=OK}"] == 3


async def test_what_a_worker_says_last_stays_in_the_sums() -> None:
    combined = CombinedMetrics(CollectorRegistry())
    combined.remember(0, Process(requests=5).samples)
    combined.ended(0)
    combined.ended(1)  # of which nothing was known
    assert (await rendered(combined))["requests_total{code=OK}"] == 5


def test_every_gauge_of_a_worker_has_a_rule() -> None:
    metrics = Metrics(version="test")
    for part in (IngestMetrics, TailMetrics, LoopDelay, TlsMetrics):
        part(metrics.registry)
    gauges = {name for name, _, kind, _ in samples_of(metrics.registry) if kind == "gauge"}
    combined = combined_metrics.LEAST | combined_metrics.GREATEST
    assert gauges == ADDED_UP | combined
    assert not ADDED_UP & combined


async def test_the_page_of_one_process_is_the_same_whether_it_is_combined_or_not() -> None:
    metrics = Metrics(version="test")
    metrics.grpc_ended("/runstream.v1.RunService/GetRun", "OK", 0.2)
    IngestMetrics(metrics.registry)
    for accept in ("", "application/openmetrics-text; version=1.0.0"):
        plain, kind = await metrics.render(accept)
        page, its_kind = await CombinedMetrics(metrics.registry).render(accept, {})
        assert kind == its_kind
        volatile = (b"process_cpu", b"process_res", b"process_virt", b"process_open", b"queue_oldest")
        lines, its_lines = (
            [line for line in one.splitlines() if not any(name in line for name in volatile)] for one in (plain, page)
        )
        assert lines == its_lines


def test_sums_of_nothing_are_nothing() -> None:
    assert Sums().samples() == []
