"""Prometheus metrics of limits."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from runstream_service.limits.workspace_limits import NAMES


class LimitMetrics:
    """What limits of workspaces have held up. `by_workspace` adds the names of workspaces, which callers choose."""

    def __init__(self, registry: CollectorRegistry, *, by_workspace: bool = False) -> None:
        self._by_workspace = by_workspace
        labels = ["limit", "workspace"] if by_workspace else ["limit"]
        self._refused = Counter(
            "runstream_limit_refusals_total",
            "Streams, requests, reads and files that were refused since their workspace has reached a limit.",
            labels, registry=registry,
        )  # fmt: skip
        self._waited = Counter(
            "runstream_limit_wait_seconds_total",
            "Seconds in which points of a workspace were not taken since it had reached its limit.",
            labels, registry=registry,
        )  # fmt: skip
        if not by_workspace:
            for name in NAMES:
                self._refused.labels(name)
            self._waited.labels("points_per_second")

    def refused(self, limit: str, workspace: str) -> None:
        """Count a refusal."""
        self._refused.labels(*self._labels(limit, workspace)).inc()

    def waited(self, limit: str, workspace: str, seconds: float) -> None:
        """Count a wait that begins."""
        self._waited.labels(*self._labels(limit, workspace)).inc(seconds)

    def _labels(self, limit: str, workspace: str) -> tuple[str, ...]:
        return (limit, workspace) if self._by_workspace else (limit,)
