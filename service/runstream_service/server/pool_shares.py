"""How the connections of the pool are shared, so that nothing that may hold connections for long can take all of
them."""

from __future__ import annotations

from dataclasses import dataclass

# One for each of the shares below, one for the reader that all tails share, and one for calls.
LEAST_POOL_SIZE = 6
# The size of the pool of a supervisor that has several workers. Purge, retention and silent runs do six kinds of work
# with it, of which few run at the same time, each for a moment. With one worker they use its pool instead.
BACKGROUND_POOL_SIZE = 4
# Connections besides those of the pool and of the writers. A worker: a ping for each of its two event loops, the commit
# notifier, and perhaps a writer for quiet workspaces. Roll-up: two.
_OF_WORKER, _OF_ROLLUP, _PING = 4, 2, 1


def connections_of_replica(*, workers: int, pool_size: int, writers: int) -> int:
    """The most connections to PostgreSQL that a replica opens; compare it with PostgreSQL's `max_connections`.
    `pool_size` and `writers` are those of each worker."""
    of_workers = workers * (pool_size + writers + _OF_WORKER)
    return of_workers + _OF_ROLLUP + (BACKGROUND_POOL_SIZE + _PING if workers > 1 else 0)


def calls_pool_size(pool_size: int) -> int:
    """The size of the pool of the event loop: what the reader thread leaves of `--pool-size`."""
    return pool_size - PoolShares.of(pool_size).reads


@dataclass(frozen=True, slots=True)
class PoolShares:
    """The most connections of a worker's pool that each may take at a time. Together they leave at least one to calls,
    which hold theirs for milliseconds; calls may also use what others leave unused of their shares. Those that wait for
    a share get it in the order of arrival."""

    openings: int  # Open and Declare of ingest streams: hundreds at once when a job begins
    histories: int  # a slow reader holds one for up to a minute
    short_reads: int  # charts, latest values, tables and searches of runs
    tails: int  # tails that begin or catch up; one reader, with one more connection, serves all others

    @property
    def reads(self) -> int:
        """The size of the reader thread's own pool: histories and short reads. The other shares are of the pool of the
        event loop."""
        return self.histories + self.short_reads

    @classmethod
    def of(cls, pool_size: int) -> PoolShares:
        """The shares of a pool of at least LEAST_POOL_SIZE connections."""
        tenths = (3, 2, 2, 1)
        return cls(*(max(1, pool_size * share // 10) for share in tenths))
