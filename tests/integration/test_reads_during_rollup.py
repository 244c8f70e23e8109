"""A read that begins before a roll-up, a merge or a drop and ends after it: every point once, or ReadTooSlow."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from runstream_service.database.pool import Database
from runstream_service.errors.core import ReadTooSlow
from runstream_service.query.charts.aggregate import Aggregate, AggregateQuery
from runstream_service.query.charts.chart import Chart, ChartQuery
from runstream_service.query.history.history import History, HistoryQuery
from runstream_service.query.latest import Latest
from runstream_service.query.reading.read_transaction import ReadPool, ReadTransaction
from runstream_service.rollup.merge import SegmentMerger
from runstream_service.rollup.metrics import RollupMetrics
from runstream_service.rollup.partitions import PartitionDropper
from runstream_service.stores.hot_batches import READ
from runstream_service.stores.hot_store import TABLE
from runstream_service.stores.segment_store import SQL
from tests.support.callers import caller_in
from tests.support.hot import put_hot
from tests.support.rolling import roll_up
from tests.support.stored import make_run
from tests.support.tail import new_series

CALLER = caller_in(1)
RANKS, EPOCHS, POINTS = 3, 4, 60

Answer = list[tuple[Any, ...]]


async def history(read_pool: ReadPool, run_id: str) -> Answer:
    found: Answer = []

    async def emit(series: Any, points: Any) -> None:
        columns = (points.step.tolist(), points.time_unix_us.tolist(), points.value.tolist())
        found.extend((series.rank, *point) for point in zip(*columns, strict=True))

    await History(read_pool).read(CALLER, HistoryQuery(run_id=run_id), emit)
    return found


async def chart(read_pool: ReadPool, run_id: str, max_buckets: int = 7) -> Answer:
    found: Answer = []

    async def emit(series: Any, buckets: Any) -> None:
        # Edges may follow segments, so only what does not depend on them is compared.
        found.append(
            (series.rank, buckets.point_count.sum(), buckets.min.min(), buckets.max.max(), buckets.first_position[0])
        )

    await Chart(read_pool).read(CALLER, ChartQuery(run_ids=[run_id], max_buckets=max_buckets), emit)
    return found


async def points_of_chart(read_pool: ReadPool, run_id: str) -> Answer:
    return await chart(read_pool, run_id, max_buckets=10_000)


async def aggregate(read_pool: ReadPool, run_id: str) -> Answer:
    curve = await Aggregate(read_pool).read(CALLER, AggregateQuery(run_id=run_id, key="k"))
    columns = (curve.first_step, curve.rank_count, curve.min, curve.max, curve.mean, curve.max_rank)
    return list(zip(*(column.tolist() for column in columns), strict=True))


async def latest(read_pool: ReadPool, run_id: str) -> Answer:
    points = await Latest(read_pool).read(CALLER, [run_id])
    return list(zip(points.rank.tolist(), points.step.tolist(), points.value.tolist(), strict=True))


@pytest.fixture
async def run_id(database: Database) -> str:
    """A run with points in two dropped epochs, in one that is only rolled up, and in the open one; some come late."""
    run_id = await make_run(database)
    for number in range(EPOCHS):
        for rank in range(RANKS):
            await append(database, run_id, rank, range(number * POINTS - 10, (number + 1) * POINTS - 10))
        if number < 2:
            await roll_and_drop(database)
        elif number == 2:
            await roll_up(database)
    return run_id


async def append(database: Database, run_id: str, rank: int, steps: range) -> None:
    epoch = await database.fetchval("SELECT epoch FROM epochs WHERE state = 'open'")
    series_id = await new_series(database, uuid.UUID(run_id), "k", rank=rank)
    async with database.acquire() as connection:
        await put_hot(
            connection, [(series_id, step, 1_000 * step + epoch, step + rank / 4) for step in steps], epoch=epoch
        )


async def roll_and_drop(database: Database) -> None:
    await roll_up(database)
    connection = await database.connect_rollup()
    try:
        while await PartitionDropper(0).drop(connection) is not None:
            pass
    finally:
        connection.terminate()


async def roll_drop_and_merge(database: Database) -> None:
    await roll_and_drop(database)
    await database.execute("UPDATE runs SET status = 'finished', ended_at = now()")
    segments = await database.fetchval("SELECT count(*) FROM metric_segments")
    connection = await database.connect_rollup()
    try:
        assert await SegmentMerger(RollupMetrics(CollectorRegistry())).merge(connection)
    finally:
        connection.terminate()
    assert await database.fetchval("SELECT count(*) FROM metric_segments") < segments


HOT = "hot batches"
# The statements that each read copies from.
STATEMENTS = {
    history: (HOT, "in_order"),
    chart: (HOT, "summaries", "at"),
    points_of_chart: (HOT, "summaries", "at"),
    aggregate: (HOT, "summaries", "at"),
    latest: (HOT,),
}
READS = (*STATEMENTS,)
EACH = pytest.mark.parametrize(
    ("read", "statement"), [(read, statement) for read, statements in STATEMENTS.items() for statement in statements]
)
# The text of each statement before its first value.
BEGINNINGS = {name: SQL[name].partition("$")[0] for name in ("in_order", "summaries", "at")} | {
    HOT: f"SELECT {READ} FROM {TABLE}"
}


class Pause:
    """Does something before the COPY of a statement, once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, do: Callable[[], Awaitable[Any]]) -> None:
        self.happened = False
        stream_sql = ReadTransaction.stream_sql

        async def paused(transaction: ReadTransaction, statement: str, sink: Any, **around: str) -> None:
            if statement.startswith(BEGINNINGS[name]) and not self.happened:
                self.happened = True
                await do()
            await stream_sql(transaction, statement, sink, **around)

        monkeypatch.setattr(ReadTransaction, "stream_sql", paused)


@EACH
async def test_roll_up_in_the_middle_changes_nothing(
    database: Database, run_id: str, read: Any, statement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_pool = ReadPool(database, max_reads=1)
    before = await read(read_pool, run_id)
    assert before
    pause = Pause(monkeypatch, statement, lambda: roll_up(database))
    assert await read(read_pool, run_id) == before
    assert await read(read_pool, run_id) == before
    assert pause.happened


@pytest.mark.parametrize("do", [roll_and_drop, roll_drop_and_merge])
@EACH
async def test_drop_in_the_middle_is_noticed(
    database: Database, run_id: str, read: Any, statement: str, do: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_pool = ReadPool(database, max_reads=1)
    before = await read(read_pool, run_id)
    pause = Pause(monkeypatch, statement, lambda: do(database))
    with pytest.raises(ReadTooSlow):
        await read(read_pool, run_id)
    assert pause.happened
    assert await read(read_pool, run_id) == before


@EACH
async def test_merge_in_the_middle_changes_nothing(
    database: Database, run_id: str, read: Any, statement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.execute("UPDATE runs SET status = 'finished', ended_at = now()")
    read_pool = ReadPool(database, max_reads=1)
    before = await read(read_pool, run_id)

    async def merge() -> None:
        connection = await database.connect_rollup()
        try:
            assert await SegmentMerger(RollupMetrics(CollectorRegistry())).merge(connection)
        finally:
            connection.terminate()

    pause = Pause(monkeypatch, statement, merge)
    assert await read(read_pool, run_id) == before
    assert await read(read_pool, run_id) == before
    assert pause.happened


async def test_drop_does_not_wait_for_a_reader_that_has_read_its_hot_batches(
    database: Database, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_locks() -> None:
        locks = await database.fetchval(
            "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation"
            " WHERE c.relname LIKE 'hot_batches%' AND l.pid <> pg_backend_pid()"
        )
        assert locks == 0

    pause = Pause(monkeypatch, "in_order", no_locks)
    assert await history(ReadPool(database, max_reads=1), run_id)
    assert pause.happened
