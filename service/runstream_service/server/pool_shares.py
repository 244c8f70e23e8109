"""How the connections of the pool are shared: none of what may hold some for long can take all of them."""

from __future__ import annotations

from dataclasses import dataclass

# One for each of the shares below, the tails' shared reader, and one for calls.
LEAST_POOL_SIZE = 6
# The pool of the supervisor of several workers: purge, retention and silent runs have six kinds of work, of which few
# run at a time, each for a moment. With one worker they use its pool.
BACKGROUND_POOL_SIZE = 4
# Besides the pool and the writers, a worker pings the database on each of its two event loops, hears of commits, and
# may need a writer for quiet workspaces; roll-up has two connections.
_OF_WORKER, _OF_ROLLUP, _PING = 4, 2, 1


def connections_of_replica(*, workers: int, pool_size: int, writers: int) -> int:
    """The most connections to PostgreSQL of a replica, to be compared with `max_connections`."""
    of_workers = workers * (pool_size + writers + _OF_WORKER)
    return of_workers + _OF_ROLLUP + (BACKGROUND_POOL_SIZE + _PING if workers > 1 else 0)


def calls_pool_size(pool_size: int) -> int:
    """The size of the pool of the event loop: what the reader thread leaves of `--pool-size`."""
    return pool_size - PoolShares.of(pool_size).reads


@dataclass(frozen=True, slots=True)
class PoolShares:
    """The most connections of a worker's pool that each may take at a time. Together they leave at least one to calls,
    which hold theirs for milliseconds; calls take whatever of a share is not in use. What waits for its share keeps the
    order in which it came."""

    openings: int  # Open and Declare of ingest streams: hundreds at once when a job begins
    histories: int  # a slow reader holds one for up to a minute
    answers: int  # charts, latest values, tables and searches of runs
    tails: int  # tails that begin or catch up; all others are served by one reader, with a connection besides

    @property
    def reads(self) -> int:
        """The size of the reader thread's own pool. The other shares are of the pool of the event loop."""
        return self.histories + self.answers

    @classmethod
    def of(cls, pool_size: int) -> PoolShares:
        """The shares of a pool of at least LEAST_POOL_SIZE connections."""
        tenths = (3, 2, 2, 1)
        return cls(*(max(1, pool_size * share // 10) for share in tenths))
