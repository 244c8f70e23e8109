"""Prometheus metrics of the ingest path. Most are counted per group or per stream. Those that are counted per batch are
plain numbers, which are cheaper; nothing is counted per point."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from runstream_service.errors.core import (
    CommitFailed,
    DatabaseUnavailable,
    Fenced,
    InvalidField,
    LedgerBehind,
    OpenExpected,
    Overloaded,
    RunDeleted,
    RunNotFound,
    SequenceGap,
    UndeclaredSeries,
)
from runstream_service.ingest.latency import LogToCommitHistogram
from runstream_service.ingest.refusals import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client import CollectorRegistry

    from runstream_service.ingest.backpressure import PointBudget
    from runstream_service.ingest.group import Group

# Counters with labels begin at 0 where it is known what they will count: Prometheus sees no increase in a series that
# has just appeared.
_ERRORS_OF_ONE_PRODUCER = (
    CommitFailed,
    DatabaseUnavailable,
    Fenced,
    InvalidField,
    LedgerBehind,
    OpenExpected,
    Overloaded,
    RunDeleted,
    RunNotFound,
    SequenceGap,
    UndeclaredSeries,
)

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_POINTS = (1, 10, 100, 1_000, 5_000, 10_000, 25_000, 50_000, 100_000, 150_000)


class Received(Collector):
    """Counts batches and points received, by protocol, in plain numbers: it is called for every message."""

    def __init__(self) -> None:
        self._batches = {"grpc": 0, "http": 0}
        self._points = {"grpc": 0, "http": 0}

    def count(self, protocol: str, points: int, batches: int = 1) -> None:
        """Count the batches of a message of a stream (`grpc`), or the points of one HTTP request."""
        self._batches[protocol] += batches
        self._points[protocol] += points

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Called by the registry of Prometheus."""
        batches = CounterMetricFamily(
            "runstream_batches_received_total", "Batches of streams and writes over HTTP that came in.",
            labels=["protocol"],
        )  # fmt: skip
        points = CounterMetricFamily(
            "runstream_points_received_total", "Points that came in, also repeated and refused ones.",
            labels=["protocol"],
        )  # fmt: skip
        for family, counts in ((batches, self._batches), (points, self._points)):
            for protocol, count in counts.items():
                family.add_metric([protocol], count)
            yield family


class IngestMetrics:
    """All metrics of the ingest path."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.streams_open = Gauge(
            "runstream_streams_open", "Append streams that are open, also those that have not sent Open yet.",
            registry=registry,
        )  # fmt: skip
        self.streams_capacity = Gauge(
            "runstream_streams_capacity", "Most open streams; further ones are refused (--max-streams).",
            registry=registry,
        )  # fmt: skip
        self.producers_open = Gauge(
            "runstream_producers_open", "Producers of all streams that are open or being opened.", registry=registry
        )
        self._streams_ended = Counter(
            "runstream_streams_ended_total",
            "Append streams that ended, by reason (OK if the client closed it); also those that were refused.",
            ["reason"], registry=registry,
        )  # fmt: skip
        self._producers_ended = Counter(
            "runstream_producers_ended_total",
            "Producers that ended, or could not be opened, while their stream of many producers went on; by reason.",
            ["reason"], registry=registry,
        )  # fmt: skip
        for error in _ERRORS_OF_ONE_PRODUCER:
            self._producers_ended.labels(error.reason)
        self.received = Received()
        registry.register(self.received)
        self._committed = Counter(
            "runstream_points_committed_total", "Points that were committed, each once.", registry=registry
        )
        self._duplicate_batches = Counter(
            "runstream_batches_duplicate_total", "Batches that were sent again after their commit; not stored again.",
            registry=registry,
        )  # fmt: skip
        self._refused = Counter(
            "runstream_points_refused_total", "Points that were refused for good, by reason.",
            ["reason"], registry=registry,
        )  # fmt: skip
        for reason in Reason:
            self._refused.labels(reason.value)
        self._lost = Counter(
            "runstream_batches_lost_total",
            "Batches that were acknowledged and that the database does not know any more (it was restored, or failed "
            "over without a synchronous standby).",
            registry=registry,
        )
        self._log_to_commit = LogToCommitHistogram()
        registry.register(self._log_to_commit)
        self._group_points = Histogram(
            "runstream_group_points", "Points in a group commit.", buckets=_POINTS, registry=registry
        )
        self._group_seconds = Histogram(
            "runstream_group_commit_seconds", "One group commit: ledger, COPY and COMMIT.", buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self.copy_seconds = Histogram(
            "runstream_copy_seconds", "The COPY of a group.", buckets=_SECONDS, registry=registry
        )
        self.encode_seconds = Histogram(
            "runstream_encode_seconds", "Encoding a group for its COPY.", buckets=_SECONDS, registry=registry
        )
        self._failures = Counter(
            "runstream_group_commit_failures_total", "Tries of a group commit that failed and were repeated, by error.",
            ["error"], registry=registry,
        )  # fmt: skip
        self._queue_points = Gauge(
            "runstream_queue_points", "Points read from streams and not committed yet.", registry=registry
        )
        self._queue_oldest = Gauge(
            "runstream_queue_oldest_seconds", "Age of the oldest batch that waits for its commit; 0 if none does.",
            registry=registry,
        )  # fmt: skip
        self._queue_capacity = Gauge(
            "runstream_queue_capacity_points", "Most waiting points; at this number, streams are not read any more.",
            registry=registry,
        )  # fmt: skip
        self._held = Gauge(
            "runstream_ingest_held", "1 while ingest waits for roll-up (--hot-points-max); else 0.", registry=registry
        )
        self._times_held = Counter(
            "runstream_ingest_holds_total", "Times that ingest had to wait for roll-up.", registry=registry
        )
        self._paused = Counter(
            "runstream_ingest_pause_seconds_total",
            "Seconds in which the ingest of many points let reads, and batches of quiet workspaces, pass.",
            registry=registry,
        )

    def held(self, held: bool) -> None:
        """Record whether ingest waits for roll-up now."""
        self._held.set(1 if held else 0)
        if held:
            self._times_held.inc()

    def paused(self, seconds: float) -> None:
        """Count a pause in which bulk ingest let urgent work pass."""
        self._paused.inc(seconds)

    def watch(self, budget: PointBudget, oldest: Callable[[], float | None]) -> None:
        """Export the budget, and the age of the oldest batch (`time.monotonic()`), whenever the metrics are read."""
        self._queue_oldest.set_function(lambda: 0.0 if (received := oldest()) is None else time.monotonic() - received)
        self._queue_points.set_function(lambda: budget.waiting_points)
        self._queue_capacity.set(budget.capacity_points)

    def group_committed(self, group: Group, seconds: float) -> None:
        """Count one group after its COMMIT."""
        stored = sum(item.points for item in group.accepted)
        self._group_points.observe(stored)
        self._group_seconds.observe(seconds)
        self._committed.inc(stored)
        if group.duplicates:
            self._duplicate_batches.inc(len(group.duplicates))
        now = time.monotonic()
        for item in group.accepted:
            if item.oldest_logged_at is not None:
                self._log_to_commit.observe(now - item.oldest_logged_at)
            for refusal in item.refusals:
                self._refused.labels(refusal.reason.value).inc(refusal.points)

    def points_refused(self, reason: Reason, points: int) -> None:
        """Count the points of an HTTP request that was refused as a whole."""
        self._refused.labels(reason.value).inc(points)

    def commit_failed(self, error: Exception) -> None:
        """Count a failed try to commit a group."""
        self._failures.labels(type(error).__name__).inc()

    def stream_ended(self, reason: str) -> None:
        """Count a stream that ended, or was refused."""
        self._streams_ended.labels(reason).inc()

    def producer_ended(self, reason: str) -> None:
        """Count a producer that failed without its stream."""
        self._producers_ended.labels(reason).inc()

    def duplicate_batches(self, batches: int) -> None:
        """Count batches that a stream skipped because their number was committed already."""
        self._duplicate_batches.inc(batches)

    def acknowledged_batches_lost(self, batches: int) -> None:
        """Count batches that a client got acknowledged and that the ledger does not know."""
        self._lost.inc(batches)
