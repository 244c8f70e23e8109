"""Prometheus metrics of silent runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class LivenessMetrics:
    """The runs that this replica ended, and the rounds that failed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ended = Counter(
            "runstream_silent_runs_total", "Runs that were ended as killed, because their producers were gone.",
            registry=registry,
        )  # fmt: skip
        self._failures = Counter(
            "runstream_silent_run_failures_total", "Rounds of the search for silent runs that failed.",
            registry=registry,
        )  # fmt: skip

    def ended(self, runs: int) -> None:
        """Count runs that were ended."""
        self._ended.inc(runs)

    def failed(self) -> None:
        """Count a round that failed."""
        self._failures.inc()
