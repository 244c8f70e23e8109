"""Where the plugin's writes go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from runstream._points_journal import Point


class MetricSink(Protocol):
    """Writes never wait for the service and never raise because of it. May be used from several threads, and in a child
    of fork."""

    def log_points(self, run_id: str, points: Sequence[Point]) -> None:
        """Points of a run, in order."""

    def log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Params of a run."""

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Tags of a run."""

    def pending(self) -> Sequence[str]:
        """Runs with writes that the service may not have answered."""

    def flush(self, run_id: str, timeout_s: float) -> bool:
        """Waits until every write to a run is stored or refused for good; False if that takes longer."""

    def close(self, run_id: str) -> None:
        """Nothing more is expected for a run; a later write opens it again."""
