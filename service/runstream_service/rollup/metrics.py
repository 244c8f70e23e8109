"""Prometheus metrics of roll-up: how far it is behind, and what it did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from runstream_service.rollup.measurements import Backlog, Sizes

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class RollupMetrics:
    """Metrics of roll-up by this replica, and of what it measured in the database."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lag_points = Gauge(
            "runstream_rollup_lag_points", "Points that reads still take from hot batches.", registry=registry
        )
        self._lag_seconds = Gauge(
            "runstream_rollup_lag_seconds", "Age of the oldest such point; 0 if there are none.", registry=registry
        )
        self._visible = Gauge(
            "runstream_rollup_visible_epoch", "Up to this epoch, reads take segments (W).", registry=registry
        )
        self._dropped = Gauge(
            "runstream_rollup_dropped_epoch", "Up to this epoch, hot batches are gone (D).", registry=registry
        )
        self._overdue_points = Gauge(
            "runstream_rollup_overdue_points", "Points that are in segments and whose batches cannot be dropped.",
            registry=registry,
        )  # fmt: skip
        self._database_bytes = Gauge(
            "runstream_database_bytes", "Size of the whole database on disk.", registry=registry
        )
        self._table_bytes = Gauge(
            "runstream_table_bytes", "Size of a table on disk, with its indexes.", ["table"], registry=registry
        )
        self._seconds = Histogram(
            "runstream_rollup_seconds", "Rolling up one epoch.", buckets=_SECONDS, registry=registry
        )
        self._points = Counter(
            "runstream_rollup_points_total", "Points that were moved from hot batches to segments.", registry=registry
        )
        self._segments = Counter("runstream_rollup_segments_total", "Segments that roll-up wrote.", registry=registry)
        self._merged = Counter(
            "runstream_segments_merged_total", "Small segments that were merged into larger ones.", registry=registry
        )
        self._failures = Counter(
            "runstream_rollup_failures_total", "Steps of roll-up that failed and were repeated, by step and error.",
            ["step", "error"], registry=registry,
        )  # fmt: skip

    def measured(self, backlog: Backlog) -> None:
        """Export a measured backlog."""
        self._lag_points.set(backlog.points)
        self._lag_seconds.set(backlog.age_s)
        self._visible.set(backlog.visible_epoch)
        self._dropped.set(backlog.dropped_epoch)
        self._overdue_points.set(backlog.overdue_points)

    def sized(self, sizes: Sizes) -> None:
        """Export measured sizes on disk."""
        self._database_bytes.set(sizes.database)
        self._table_bytes.labels("hot").set(sizes.hot)
        self._table_bytes.labels("segments").set(sizes.segments)

    def epoch_rolled(self, points: int, segments: int, seconds: float) -> None:
        """Count an epoch that is rolled up, after its COMMIT. `seconds`: how long that took."""
        self._points.inc(points)
        self._segments.inc(segments)
        self._seconds.observe(seconds)

    def merged(self, segments: int) -> None:
        """Count segments that became part of larger ones, after their COMMIT."""
        self._merged.inc(segments)

    def failed(self, step: str, error: Exception) -> None:
        """Count a step of roll-up that failed."""
        self._failures.labels(step, type(error).__name__).inc()
