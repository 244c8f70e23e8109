"""Measures how late the event loop is, since everything that this process serves waits for it."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry, Histogram

_PERIOD_S = 0.1
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class LoopDelay:
    """Schedules a wake-up ten times a second, and records how late it is."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "runstream_event_loop_delay_seconds",
            "By how much the event loop was late, asked ten times a second.",
            buckets=_BUCKETS, registry=registry,
        )  # fmt: skip

    async def run(self) -> None:
        """Measures until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _PERIOD_S
            await asyncio.sleep(_PERIOD_S)
            self._seconds.observe(max(0.0, loop.time() - due))
