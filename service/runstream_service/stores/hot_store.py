"""Every statement on hot_batches, which has the points that are not rolled up yet, in one partition for each epoch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream_service.concurrency import threads
from runstream_service.database.copy_rows import collect
from runstream_service.database.layout import DISTRIBUTED, ONE_POSTGRES
from runstream_service.database.pool import layout_of
from runstream_service.stores.hot_batches import COLUMNS, READ, BatchStream, HotPoints

if TYPE_CHECKING:
    from uuid import UUID

    from runstream_service.database.pool import Connection, PooledConnection

TABLE = "hot_batches"
_ARGUMENTS = ", ".join(f"${number}" for number in range(1, 20))
COMMIT_SMALL = f"SELECT * FROM commit_batches({_ARGUMENTS})"  # noqa: S608 - no values

# With more runs than this, it is faster to read the batches of all runs.
_MAX_NAMED = 5_000
# Most pairs of a run and a rank that are looked up in the index of each partition. With more, all ranks are read.
_MAX_PAIRS = 20_000

_LAST_COMMIT_NO = 2**31 - 1


def partition(epoch: int) -> str:
    """The table with the batches of an epoch."""
    return f"{TABLE}_{epoch:d}"


@dataclass(frozen=True, slots=True)
class CommitRange:
    """The commits of an epoch from `first` to `last`, both included. Together they have `points` points."""

    first: int
    last: int
    points: int


class HotStore:
    """The statements of writers and of roll-up, on their own connection."""

    def __init__(self, connection: Connection | PooledConnection) -> None:
        self._connection = connection

    async def create_partition(self, epoch: int) -> None:
        """Creates the partition of a new epoch."""
        await self._connection.execute("SELECT create_hot_partition($1)", epoch)

    async def drop_partition(self, epoch: int) -> None:
        """Drops the partition of an epoch, if it exists. This locks the whole table exclusively."""
        await self._connection.execute(f"DROP TABLE IF EXISTS {partition(epoch)}")

    async def highest_partition(self) -> int | None:
        """The highest epoch that has a partition."""
        epoch: int | None = await self._connection.fetchval(
            f"SELECT max(substring(relname FROM '^{TABLE}_([0-9]+)$')::int) FROM pg_class"  # noqa: S608 - our own name
        )
        return epoch

    async def size_bytes(self) -> int:
        """The size of all partitions on disk, with indexes."""
        size: int = await self._connection.fetchval(_SIZE_BYTES[layout_of(self._connection)])
        return size

    async def copy(self, epoch: int, rows: AsyncIterator[bytes]) -> None:
        """Stores encoded rows (EncodedBatches.copy). It names the partition: routing through the parent takes a tenth
        longer."""
        await self._connection.copy_to_table(partition(epoch), source=rows, columns=COLUMNS, format="binary")

    async def commit_ranges(self, epoch: int, max_points: int) -> list[CommitRange]:
        """Divides the commits of a sealed epoch into ranges of at most `max_points`, or of one larger commit.

        So an epoch of any size is rolled up in bounded memory. A sealed epoch gets no more commits. The ranges together
        cover all possible numbers, so that batches without a row in `commits` are found, instead of dropped unnoticed.
        """
        rows = await self._connection.fetch(
            "SELECT commit_no, point_count FROM commits WHERE epoch = $1 AND point_count > 0 ORDER BY commit_no", epoch
        )
        ranges = [CommitRange(0, _LAST_COMMIT_NO, 0)]
        for commit_no, points in rows:
            last = ranges[-1]
            if last.points and last.points + points > max_points:
                ranges[-1] = CommitRange(last.first, commit_no - 1, last.points)
                ranges.append(CommitRange(commit_no, _LAST_COMMIT_NO, points))
            else:
                ranges[-1] = CommitRange(last.first, _LAST_COMMIT_NO, last.points + points)
        return ranges

    async def read(self, epoch: int, commits: CommitRange) -> HotPoints:
        """The points of a range of commits of an epoch, in the order in which they are stored."""
        portions = await collect(
            self._connection,
            f"SELECT {READ} FROM {partition(epoch)} "  # noqa: S608 - our own numbers and names
            f"WHERE commit_no BETWEEN {commits.first:d} AND {commits.last:d}",
        )
        return await threads.ROLLUP.run(_decoded, portions)


async def read_commits(
    connection: PooledConnection, epoch: int, commit_nos: Iterable[int], runs: Iterable[UUID]
) -> HotPoints:
    """The points of some commits and runs of an epoch. Raises asyncpg.UndefinedTableError if the epoch is dropped."""
    portions = await collect(
        connection,
        f"SELECT {READ} FROM {partition(epoch)} WHERE run_id = ANY ({_uuids(runs)}) "  # noqa: S608
        f"AND commit_no = ANY ('{{{_numbers(commit_nos)}}}'::int[])",
    )
    return await threads.READS.run(_decoded, portions)


def points_above(visible_epoch: int, runs: Collection[UUID], ranks: Collection[int]) -> str:
    """The COPY, for BatchStream, of all batches above the watermark of some runs and ranks. It may have batches of
    others, too."""
    conditions = [f"epoch > {visible_epoch:d}"]
    if len(runs) <= _MAX_NAMED:
        conditions.append(f"run_id = ANY ({_uuids(runs)})")
        if len(runs) * len(ranks) <= _MAX_PAIRS:
            conditions.append(f"rank = ANY ('{{{_numbers(ranks)}}}'::int[])")
    return f"SELECT {READ} FROM {TABLE} WHERE {' AND '.join(conditions)}"  # noqa: S608 - our own numbers


# Whether any epoch above $1 has points. It reads `commits`, which is on one node even if the batches are on many.
ANY_ABOVE = "SELECT EXISTS (SELECT FROM commits WHERE epoch > $1 AND point_count > 0)"

# A partition may be dropped in the meantime; then it counts as nothing.
_SIZE_BYTES = {
    ONE_POSTGRES: """
        SELECT coalesce(sum(pg_total_relation_size(inhrelid)), 0)::bigint
          FROM pg_inherits WHERE inhparent = to_regclass('hot_batches')
    """,
    DISTRIBUTED: """
        SELECT coalesce(sum(citus_total_relation_size(inhrelid, fail_on_error => false)), 0)::bigint
          FROM pg_inherits WHERE inhparent = to_regclass('hot_batches')
    """,
}


def _decoded(portions: Sequence[bytes]) -> HotPoints:
    stream = BatchStream()
    for data in portions:
        stream.feed(data)
    return stream.finish()


def _uuids(runs: Iterable[UUID]) -> str:
    return "'{" + ",".join(run.hex for run in runs) + "}'::uuid[]"


def _numbers(numbers: Iterable[int]) -> str:
    return ",".join(f"{number:d}" for number in numbers)
