"""Prometheus metrics of the streams of events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class LiveMetrics:
    """The metrics of open pages."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.streams = Gauge("runstream_event_streams", "Streams of events to open pages.", registry=registry)
        self.feeds = Gauge("runstream_event_feeds", "Runs whose points are sent to open pages.", registry=registry)
        self.resets = Counter(
            "runstream_event_resets_total", "How often a page had to ask for everything again.", registry=registry
        )
