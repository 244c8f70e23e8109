"""Prometheus metrics of live tail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class TailMetrics:
    """Open tails, points that were sent, and how the shared reading keeps up."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.streams = Gauge("runstream_tail_streams", "Tail streams that are open.", registry=registry)
        self.points = Counter(
            "runstream_tail_points_total", "Points that were sent to Tail streams.", registry=registry
        )
        self.poll_seconds = Histogram(
            "runstream_tail_poll_seconds", "One reading of new commits for all streams.", buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self.fell_behind = Counter(
            "runstream_tail_fell_behind_total", "How often a stream was slower than the points and read on alone.",
            registry=registry,
        )  # fmt: skip
