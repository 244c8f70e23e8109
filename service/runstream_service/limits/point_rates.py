"""Points per second of each workspace: a bucket of tokens."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

# A workspace that has sent nothing for so long may send the points of so long at once. Training jobs send in bursts.
BURST_S = 5.0


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


class PointRates:
    """A batch may be taken while the bucket is not empty, and may leave it in debt: so a batch that is larger than the
    bucket has its turn, too. `rate_of` gives the points per second of a workspace; 0: no limit."""

    def __init__(self, rate_of: Callable[[int], int], clock: Callable[[], float] = time.monotonic) -> None:
        self._rate_of = rate_of
        self._clock = clock
        self._buckets: dict[int, _Bucket] = {}  # of workspaces that have a limit

    def wait_s(self, workspace_id: int, behind_points: int = 0) -> float:
        """How long a workspace has to wait until it may send, behind so many points that wait already."""
        rate = self._rate_of(workspace_id)
        if not rate:
            return 0.0
        tokens = self._filled(workspace_id, rate).tokens - behind_points
        return 0.0 if tokens > 0 else (1.0 - tokens) / rate

    def spend(self, workspace_id: int, points: int) -> None:
        """A workspace sends points."""
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
