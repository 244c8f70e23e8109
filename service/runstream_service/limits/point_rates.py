"""The limit of points per second of each workspace, as a token bucket."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

# The size of a bucket, in seconds: a workspace that has sent nothing for this long may send the points of this long at
# once. Training jobs send in bursts.
BURST_S = 5.0


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


class PointRates:
    """A bucket for each workspace. A batch is accepted while the bucket is not empty, and may leave it in debt, so that
    a batch larger than the bucket is accepted, too. `rate_of` returns the points per second of a workspace; 0: no
    limit."""

    def __init__(self, rate_of: Callable[[int], int], clock: Callable[[], float] = time.monotonic) -> None:
        self._rate_of = rate_of
        self._clock = clock
        self._buckets: dict[int, _Bucket] = {}  # of workspaces that have a limit

    def wait_s(self, workspace_id: int, behind_points: int = 0) -> float:
        """How long a workspace has to wait until it may send, behind `behind_points` that wait already; 0: not at
        all."""
        rate = self._rate_of(workspace_id)
        if not rate:
            return 0.0
        tokens = self._filled(workspace_id, rate).tokens - behind_points
        return 0.0 if tokens > 0 else (1.0 - tokens) / rate

    def spend(self, workspace_id: int, points: int) -> None:
        """Take the points that a workspace sends out of its bucket."""
        if rate := self._rate_of(workspace_id):
            self._filled(workspace_id, rate).tokens -= points
        else:
            self._buckets.pop(workspace_id, None)

    def _filled(self, workspace_id: int, rate: int) -> _Bucket:
        now, most = self._clock(), rate * BURST_S
        bucket = self._buckets.get(workspace_id)
        if bucket is None:
            bucket = self._buckets[workspace_id] = _Bucket(most, now)
        bucket.tokens = min(most, bucket.tokens + (now - bucket.filled_at) * rate)
        bucket.filled_at = now
        return bucket
