"""Prometheus metrics of purge and retention."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class RetentionMetrics:
    """What this replica deleted for good."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._points = Counter(
            "runstream_deleted_points_total", "Points whose space was freed, by reason: purge or retention.",
            ["reason"], registry=registry,
        )  # fmt: skip
        self._segments = Counter(
            "runstream_deleted_segments_total", "Segments that were deleted, by reason.", ["reason"], registry=registry
        )
        self._series = Counter("runstream_purged_series_total", "Deleted series that are gone.", registry=registry)
        self._runs = Counter("runstream_purged_runs_total", "Deleted runs that are gone.", registry=registry)
        self._failures = Counter(
            "runstream_retention_failures_total",
            "Steps of purge and retention that failed and are tried again: purge, files, write_ids, ledger, retention.",
            ["step"], registry=registry,
        )  # fmt: skip

    def deleted(self, reason: str, *, segments: int, points: int) -> None:
        """Count deleted segments."""
        self._segments.labels(reason).inc(segments)
        self._points.labels(reason).inc(points)

    def purged_series(self, count: int) -> None:
        """Count series that are gone."""
        self._series.inc(count)

    def purged_run(self) -> None:
        """Count a run that is gone."""
        self._runs.inc()

    def expect(self, step: str) -> None:
        """Export a step with 0 failures from the start: a rate does not show the first failure of a series that begins
        at 1."""
        self._failures.labels(step)

    def failed(self, step: str) -> None:
        """Count a step that failed."""
        self._failures.labels(step).inc()
