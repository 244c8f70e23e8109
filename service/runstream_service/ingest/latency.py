"""How long points take from log() to their commit, though the clocks of clients and service differ.

The time is the sum of three spans, none of which compares two clocks:

- From log() to sending: the client measures it.
- On the way. This matters when streams are not read: batches then wait in network buffers, sent but not received. How
  long a batch takes is the time of receipt minus the time of sending, less the same difference of the fastest batch of
  the stream. Only the time that the fastest batch took is missing then, about a millisecond. In the life of a stream,
  half an hour with the default of --max-connection-age, clocks drift apart by less than a tenth of a second.
- From receipt to commit: the service measures it.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

# A bound, so that one client with a wrong clock does not spoil the sum for all.
_LONGEST_US = 30 * 86_400 * 1_000_000

# Clients seal a batch after half a second. A long outage of the service may last an hour.
_BUCKETS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0)


class ClientClockOffset:
    """What is known about the clock of the client of one stream."""

    def __init__(self) -> None:
        self._fastest_us: int | None = None

    def on_the_way_us(self, sent_us: int | None, received: float) -> int:
        """How long a message was on its way, by the monotonic clock of this process, like `received`; 0 if the client
        does not send the time of its own clock."""
        if sent_us is None:
            return 0
        apart_us = int(received * 1e6) - sent_us
        if self._fastest_us is None or apart_us < self._fastest_us:
            self._fastest_us = apart_us
        return apart_us - self._fastest_us


def logged_at(received: float, oldest_age_us: int, on_the_way_us: int) -> float:
    """When the oldest point of a batch was logged, by the clock of `received`."""
    age_us = oldest_age_us + on_the_way_us
    return received - (age_us if age_us < _LONGEST_US else _LONGEST_US) / 1e6


class LogToCommitHistogram(Collector):
    """The histogram, kept in plain numbers: it counts every batch, and a Histogram's lock and labels cost five times as
    much."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BUCKETS_S) + 1)
        self._sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one batch."""
        self._counts[bisect_left(_BUCKETS_S, seconds)] += 1
        self._sum_s += seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """For the registry."""
        bounds = (*(str(bound) for bound in _BUCKETS_S), "+Inf")
        yield HistogramMetricFamily(
            "runstream_log_to_commit_seconds",
            "From log() of the oldest point of a batch to its commit, for clients that send its age.",
            buckets=list(zip(bounds, accumulate(self._counts), strict=True)),
            sum_value=self._sum_s,
        )
