"""Prometheus metrics of purge and retention."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class RetentionMetrics:
    """Counts what this replica deleted for good, and the steps that failed."""

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
            "Steps of purge and retention that failed and are tried again: purge, files, write_ids, ledger, access, "
            "retention.",
            ["step"], registry=registry,
        )  # fmt: skip

    def deleted(self, reason: str, *, segments: int, points: int) -> None:
        """Count deleted segments, and the points in them. `reason`: purge or retention."""
        self._segments.labels(reason).inc(segments)
        self._points.labels(reason).inc(points)

    def purged_series(self, count: int) -> None:
        """Count series that were purged."""
        self._series.inc(count)

    def purged_run(self) -> None:
        """Count a run that was purged."""
        self._runs.inc()

    def expect(self, step: str) -> None:
        """Export 0 failures of a step from the start: Prometheus sees no increase in a counter that begins at 1."""
        self._failures.labels(step)

    def failed(self, step: str) -> None:
        """Count a step of purge or retention that failed."""
        self._failures.labels(step).inc()
