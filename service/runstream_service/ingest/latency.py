"""How long points take from log() to their commit, though the clocks of clients and service differ.

The time is the sum of three spans, none of which compares two clocks:

- From log() to sending: the client measures it.
- On the way. This matters when streams are not read: batches then wait in network buffers, sent but not received. For
  each batch, take the time of receipt minus the time of sending, by two different clocks; subtract the same difference
  of the fastest batch of the stream, and what remains is how much longer this batch took. Only the time that the
  fastest batch took is missing, about a millisecond. In the life of a stream, half an hour with the default of
  --max-connection-age, the clocks drift apart by less than a tenth of a second.
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

# A bound, so that one client with a wrong clock does not make the sum useless for all.
_LONGEST_US = 30 * 86_400 * 1_000_000

# Clients seal a batch after half a second. A long outage of the service may last an hour.
_BUCKETS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0)


class ClientClockOffset:
    """The difference between the clock of the client of one stream and that of this process, as far as it is known."""

    def __init__(self) -> None:
        self._fastest_us: int | None = None

    def on_the_way_us(self, sent_us: int | None, received: float) -> int:
        """How long a message was on its way, in microseconds. `sent_us`: when it was sent, by the client's clock; None
        if the client does not say, and the result is 0. `received`: by time.monotonic()."""
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
    """A Prometheus histogram, kept in plain numbers: it counts every batch, and the lock and labels of
    prometheus_client's Histogram take five times as long."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BUCKETS_S) + 1)
        self._sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one batch whose oldest point took this long."""
        self._counts[bisect_left(_BUCKETS_S, seconds)] += 1
        self._sum_s += seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Called by the registry of Prometheus."""
        bounds = (*(str(bound) for bound in _BUCKETS_S), "+Inf")
        yield HistogramMetricFamily(
            "runstream_log_to_commit_seconds",
            "From log() of the oldest point of a batch to its commit, for clients that send its age.",
            buckets=list(zip(bounds, accumulate(self._counts), strict=True)),
            sum_value=self._sum_s,
        )
