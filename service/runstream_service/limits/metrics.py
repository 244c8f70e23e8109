"""Prometheus metrics of limits."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from runstream_service.limits.workspace_limits import NAMES


class LimitMetrics:
    """Counts what limits of workspaces refused or delayed. `by_workspace`: with the names of workspaces as labels."""

    def __init__(self, registry: CollectorRegistry, *, by_workspace: bool = False) -> None:
        self._by_workspace = by_workspace
        labels = ["limit", "workspace"] if by_workspace else ["limit"]
        self._refused = Counter(
            "runstream_limit_refusals_total",
            "Streams, requests, reads and files that were refused because their workspace has reached a limit.",
            labels, registry=registry,
        )  # fmt: skip
        self._waited = Counter(
            "runstream_limit_wait_seconds_total",
            "Seconds in which points of a workspace had to wait because it had reached its limit.",
            labels, registry=registry,
        )  # fmt: skip
        if not by_workspace:
            for name in NAMES:
                self._refused.labels(name)
            self._waited.labels("points_per_second")

    def refused(self, limit: str, workspace: str) -> None:
        """Count a refusal because of a limit."""
        self._refused.labels(*self._labels(limit, workspace)).inc()

    def waited(self, limit: str, workspace: str, seconds: float) -> None:
        """Count a wait because of a limit, when it begins."""
        self._waited.labels(*self._labels(limit, workspace)).inc(seconds)

    def _labels(self, limit: str, workspace: str) -> tuple[str, ...]:
        return (limit, workspace) if self._by_workspace else (limit,)
