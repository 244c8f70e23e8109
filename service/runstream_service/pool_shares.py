"""How the connections of the pool are shared: none of what may hold some for long can take all of them."""

from __future__ import annotations

from dataclasses import dataclass

# One for each of the shares below, the tails' shared reader, and one for calls.
LEAST_POOL_SIZE = 6


@dataclass(frozen=True, slots=True)
class PoolShares:
    """The most connections that each may take at a time. Together they leave at least one to calls, which hold theirs
    for milliseconds; calls take whatever of a share is not in use. What waits for its share keeps the order in which it
    came."""

    openings: int  # Open and Declare of ingest streams: hundreds at once when a job begins
    histories: int  # a slow reader holds one for up to a minute
    answers: int  # charts, latest values, tables and searches of runs
    tails: int  # tails that begin or catch up; all others are served by one reader, with a connection besides

    @classmethod
    def of(cls, pool_size: int) -> PoolShares:
        """The shares of a pool of at least LEAST_POOL_SIZE connections."""
        tenths = (3, 2, 2, 1)
        return cls(*(max(1, pool_size * share // 10) for share in tenths))
