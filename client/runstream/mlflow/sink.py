"""The interface for the plugin's writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from runstream._points_journal import Point


class MetricSink(Protocol):
    """Writes never wait for the service, and never raise because of it. May be used from several threads, and in a
    forked child."""

    def log_points(self, run_id: str, points: Sequence[Point]) -> None:
        """Logs points of a run, in order."""

    def log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Logs params of a run."""

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Sets tags of a run."""

    def pending(self) -> Sequence[str]:
        """The ids of runs with writes that the service may not have answered yet."""

    def flush(self, run_id: str, timeout_s: float) -> bool:
        """Waits until every write to a run is stored or refused for good; False if that takes longer."""

    def close(self, run_id: str) -> None:
        """Frees what is held for a run, as no more writes are expected; a later write opens it again."""
