"""Rotate, seal, roll, publish, drop: each step, by one replica and by two at the same time."""

from __future__ import annotations

import asyncio
import math
import random
from typing import Any

import asyncpg
import pytest

from runstream_service.rollup import epochs, rollup
from runstream_service.rollup.partitions import PartitionDropper
from tests.integration.rollup.conftest import line
from tests.support.hot import put_hot
from tests.support.locks import waiting_for_a_lock

# Rotate and seal ------------------------------------------------------------------------------------------------------


async def test_an_epoch_closes_when_it_is_full_and_not_before(env):
    (series,) = await env.new_series()
    await env.append(line(series, 0, 99))
    assert await epochs.rotate(env.connection, max_points=100, max_age_s=60) is None
    await env.append(line(series, 99, 1))
    assert await epochs.rotate(env.connection, max_points=100, max_age_s=60) == 1
    assert await env.states() == {1: "closing", 2: "open"}
    assert await epochs.rotate(env.connection, max_points=100, max_age_s=60) is None


async def test_an_old_epoch_closes_unless_it_is_empty(env):
    (series,) = await env.new_series()
    assert await epochs.rotate(env.connection, max_points=100, max_age_s=0) is None
    await env.append(line(series, 0, 1))
    assert await epochs.rotate(env.connection, max_points=100, max_age_s=60) is None
    await env.database.execute("UPDATE commits SET committed_at = now() - interval '61 s'")
    assert await epochs.rotate(env.connection, max_points=100, max_age_s=60) == 1


async def test_two_replicas_that_rotate_at_once_close_one_epoch(env):
    (series,) = await env.new_series()
    await env.append(line(series, 0, 10))
    async with env.replica() as other:
        closed = await asyncio.gather(
            *(epochs.rotate(connection, max_points=10, max_age_s=60) for connection in (env.connection, other))
        )
    assert sorted(closed, key=str) == [1, None]
    assert await env.states() == {1: "closing", 2: "open"}


async def test_an_epoch_is_not_sealed_while_somebody_writes_it(env):
    (series,) = await env.new_series()
    await env.append(line(series, 0, 1))
    async with env.replica() as writer:
        async with env.appending(line(series, 1, 5), writer):
            await epochs.rotate(env.connection, max_points=1, max_age_s=60)
            assert not await epochs.seal(env.connection)
            assert (await env.states())[1] == "closing"
            # Others write on meanwhile, into the next one, and do not wait.
            await env.append(line(series, 6, 1))
        assert await epochs.seal(env.connection)
    await env.cycle(until="publish")
    await env.check()
    assert await env.counts() == [6, 1]


async def test_a_late_writer_that_read_the_old_epoch_goes_to_the_new_one(env, database):
    """It looked before the epoch closed, and gets the lock after it was sealed."""
    (series,) = await env.new_series()
    await env.append(line(series, 0, 1))
    async with env.replica() as sealer, env.replica() as writer:
        async with sealer.transaction():
            await sealer.execute("SELECT pg_advisory_xact_lock($1, 1)", epochs.WRITERS_LOCK)
            late = asyncio.create_task(env.append(line(series, 1, 5), writer))
            while not await database.fetchval(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            ):
                await asyncio.sleep(0.005)
            await epochs.rotate(env.connection, max_points=1, max_age_s=60)
            await sealer.execute("UPDATE epochs SET state = 'sealed' WHERE epoch = 1")
        await late
    await env.cycle(until="publish")
    assert await env.database.fetch("SELECT DISTINCT epoch FROM metric_points_hot WHERE step > 0") == [(2,)]
    await env.cycle()
    await env.check()


# Roll -----------------------------------------------------------------------------------------------------------------


async def test_what_was_appended_is_in_segments_afterwards_and_hot_is_empty(env):
    one, two = await env.new_series(2)
    await env.append(line(one, 0, 1_500) + line(two, 0, 10, value=0.1))
    await env.append(
        [(one, -(2**63), -63_082_281_600_000_000, math.nan), (one, 2**63 - 1, 252_455_615_999_999_999, -math.inf)]
    )
    await env.append([(two, 5, 3, -0.0), (two, 5, 3, -0.0), (two, 4, 9, 5e-324), (two, 20, 0, math.inf)])
    await env.cycle()
    await env.check()
    assert await env.hot_rows() == 0
    assert await env.states() == {1: "dropped", 2: "open"}
    assert await env.database.fetchval("SELECT count(*) FROM commits") == 0
    assert tuple(await env.database.fetchrow("SELECT visible_epoch, dropped_epoch FROM watermark")) == (1, 1)
    row = await env.database.fetchrow("SELECT point_count, segment_count, rolled_at FROM epochs WHERE epoch = 1")
    assert row[:2] == (len(env.expected), 3)


async def test_an_epoch_larger_than_memory_allows_is_rolled_up_piece_by_piece(env):
    series = await env.new_series(3)
    for first in range(0, 2_000, 100):
        await env.append([point for one in series for point in line(one, first, 100)])
    await env.cycle(until="seal")
    pieces = []

    class Counting:
        """A connection that counts the COPYs out of the database."""

        def __getattr__(self, name):
            if name == "copy_from_query":
                pieces.append(name)
            return getattr(env.connection, name)

    counting: Any = Counting()
    rolled = await rollup.roll(counting, env.metrics, piece_points=1_500)
    assert rolled is not None
    assert (rolled.read, rolled.points) == (6_000, 6_000)
    assert len(pieces) >= 4
    await env.cycle(until="publish")
    await env.check()


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM hot_batches WHERE ctid = (SELECT max(ctid) FROM hot_batches)",
        "UPDATE hot_batches SET points = substring(points FROM 1 FOR length(points) - 16)",
        "UPDATE commits SET point_count = point_count + 1 WHERE commit_no = (SELECT max(commit_no) FROM commits)",
        "DELETE FROM commits WHERE commit_no = (SELECT min(commit_no) FROM commits)",
        "DELETE FROM commits WHERE commit_no = (SELECT max(commit_no) FROM commits)",
        "DELETE FROM commits",
    ],
)
@pytest.mark.parametrize("piece_points", [10, 1_000])
async def test_an_epoch_with_other_points_than_were_acknowledged_is_kept_as_it_is(env, damage, piece_points):
    (series,) = await env.new_series()
    for first in (0, 10, 20):
        await env.append(line(series, first, 10))
    await env.cycle(until="seal")
    await env.database.execute(damage)
    with pytest.raises(rollup.PointsMissing, match="epoch 1"):
        await rollup.roll(env.connection, env.metrics, piece_points=piece_points)
    assert await env.states() == {1: "sealed", 2: "open"}
    assert await env.counts() == []
    assert await env.database.fetchval("SELECT count(*) FROM unpublished_latest_values") == 0


async def test_an_epoch_whose_points_are_all_of_a_run_that_is_gone_passes(env):
    await put_hot(env.connection, line(series=10**6, first=0, count=300))
    await env.cycle()
    assert await env.states() == {1: "dropped", 2: "open"}
    assert await env.counts() == []


async def test_two_roll_ups_at_once_share_the_epochs(env):
    series = await env.new_series(50)
    for first in (0, 100, 200):
        await env.append([point for one in series for point in line(one, first, 100)])
        await env.cycle(until="seal")
    async with env.replica() as other, env.replica() as third:
        for _ in range(2):
            await asyncio.gather(
                *(rollup.roll(connection, env.metrics) for connection in (env.connection, other, third))
            )
    assert list((await env.states()).values()) == ["rolled", "rolled", "rolled", "open"]
    await env.cycle(until="publish")
    await env.check()
    assert await env.latest() == dict.fromkeys(series, (299, 299_000_000, "0.5"))


async def test_an_epoch_becomes_visible_only_after_the_one_before(env):
    (series,) = await env.new_series()
    for first in (0, 10):
        await env.append(line(series, first, 10))
        await env.cycle(until="seal")
    async with env.replica() as other:
        async with other.transaction():
            await other.execute("SELECT FROM epochs WHERE epoch = 1 FOR UPDATE")  # somebody is at it
            rolled = await rollup.roll(env.connection, env.metrics)
            assert rolled is not None
            assert rolled.epoch == 2
        assert await epochs.publish(env.connection) == 0
    await env.check()
    await rollup.roll(env.connection, env.metrics)
    assert await epochs.publish(env.connection) == 2
    await env.check()


async def test_points_of_series_that_are_deleted_or_marked_are_not_rolled_up(env):
    gone, marked, kept = await env.new_series(3)
    await env.append([*line(gone, 0, 5), *line(marked, 0, 5), *line(kept, 0, 5)])
    await env.database.execute("DELETE FROM series WHERE series_id = $1", gone)
    await env.database.execute("UPDATE series SET purge_epoch = 1 WHERE series_id = $1", marked)
    await env.cycle()
    assert await env.database.fetch("SELECT series_id, point_count FROM metric_segments") == [(kept, 5)]
    assert set(await env.latest()) == {kept}


async def test_an_epoch_without_points_passes(env):
    async with env.connection.transaction():
        await env.connection.execute("INSERT INTO commits (commit_no, epoch, point_count) VALUES (7, 1, 0)")
    await env.cycle()
    assert await env.states() == {1: "dropped", 2: "open"}


@pytest.mark.parametrize(
    ("first", "second", "greatest"),
    [
        ([(5, 0, 1.0)], [(4, 9, 2.0)], (5, 0, "1.0")),
        ([(5, 0, 1.0)], [(5, 1, -1.0)], (5, 1, "-1.0")),
        ([(5, 0, 1.0)], [(5, 0, 2.0)], (5, 0, "2.0")),
        ([(5, 0, 2.0)], [(5, 0, 1.0)], (5, 0, "2.0")),
        ([(5, 0, -1.0)], [(5, 0, math.nan)], (5, 0, "nan")),
        ([(5, 0, math.nan)], [(5, 0, -1.0)], (5, 0, "nan")),
        ([(5, 0, math.nan)], [(5, 0, 1e-9)], (5, 0, "1e-09")),
        ([(5, 0, math.nan), (5, 0, 3.0), (5, 0, -3.0)], [(0, 0, 9.0)], (5, 0, "3.0")),
        ([(5, 0, 1.0)], [(5, 0, math.inf)], (5, 0, "inf")),
        ([(5, 0, -math.inf)], [(5, 0, math.nan)], (5, 0, "nan")),
    ],
)
async def test_the_latest_value_is_the_greatest_over_all_epochs(env, first, second, greatest):
    (series,) = await env.new_series()
    for points in (first, second):
        await env.append([(series, *point) for point in points])
        await env.cycle()
    assert await env.latest() == {series: greatest}
    assert await env.best() == env.expected_best()


@pytest.mark.parametrize(
    ("epochs", "best"),
    [
        ([[(1, 0, 5.0), (2, 0, 1.0), (3, 0, 7.0)]], (1.0, 2, 7.0, 3)),
        ([[(5, 0, 1.0), (6, 0, 1.0)], [(2, 0, 1.0)]], (1.0, 2, 1.0, 2)),  # a late point has the same value
        ([[(2, 0, 1.0)], [(5, 0, 1.0), (1, 0, 0.5)]], (0.5, 1, 1.0, 2)),
        ([[(1, 0, math.nan), (2, 0, math.inf), (3, 0, -math.inf)]], (math.inf, 0, -math.inf, 0)),
        ([[(1, 0, math.nan)], [(0, 0, -3.0)]], (-3.0, 0, -3.0, 0)),
        ([[(9, 0, 0.0)], [(4, 0, -0.0)]], (0.0, 4, 0.0, 4)),
        ([[(9, 0, 1e308)], [(4, 0, -1e308)], [(1, 0, 0.0)]], (-1e308, 4, 1e308, 9)),
    ],
)
async def test_best_values_are_over_all_epochs_with_the_first_step_of_each(env, epochs, best):
    (series,) = await env.new_series()
    for points in epochs:
        await env.append([(series, *point) for point in points])
        await env.cycle()
    assert await env.best() == {series: best} == env.expected_best()


async def test_a_series_in_several_pieces_of_an_epoch_has_one_best_value(env, monkeypatch):
    monkeypatch.setattr(rollup, "_PART_POINTS", 1_000)
    series = await env.new_series(3)
    rng = random.Random(7)
    for _ in range(4):
        await env.append([(one, step, 0, float(rng.randint(0, 50))) for one in series for step in range(2_500)])
    await env.steps()["rotate"](env.connection)
    await env.steps()["seal"](env.connection)
    await rollup.roll(env.connection, env.metrics, piece_points=5_000)
    assert await env.database.fetchval("SELECT count(*) FROM unpublished_latest_values") > 20
    await env.steps()["publish"](env.connection)
    assert await env.best() == env.expected_best()


# Drop -----------------------------------------------------------------------------------------------------------------


async def test_a_partition_stays_as_long_as_a_read_may_take(env):
    (series,) = await env.new_series()
    await env.append(line(series, 0, 10))
    await env.cycle(until="publish")
    assert await PartitionDropper(60).drop(env.connection) is None
    await env.database.execute("UPDATE epochs SET visible_at = visible_at - interval '60 s' WHERE epoch = 1")
    assert await PartitionDropper(60).drop(env.connection) == 1
    assert await env.database.fetchval("SELECT to_regclass('hot_batches_1')") is None
    await env.check()


async def test_a_drop_waits_shortly_for_a_reader_and_comes_again(env):
    (series,) = await env.new_series()
    await env.append(line(series, 0, 10))
    await env.cycle(until="publish")
    dropper = PartitionDropper(0)
    async with env.replica() as reader:
        async with reader.transaction():
            await reader.execute("SELECT count(*) FROM metric_points_hot")
            assert await dropper.drop(env.connection) is None
            # Nothing of it is left, and a new reader need not wait.
            assert await env.states() == {1: "visible", 2: "open"}
            await env.check()
        assert await dropper.drop(env.connection) == 1


async def test_a_reader_that_misses_dropped_rows_finds_d_above_its_w(env):
    """Promise 4 needs this: rows never disappear while D says that they are there."""
    (series,) = await env.new_series()
    await env.append(line(series, 0, 10))
    await env.cycle(until="seal")
    watermark = "SELECT visible_epoch, dropped_epoch FROM watermark"
    async with env.replica() as reader, env.replica() as dropping:
        visible, _ = await reader.fetchrow(watermark)
        await env.cycle(until="publish")
        blocked, go_on = asyncio.Event(), asyncio.Event()

        class Slow:
            """A connection that stops before COMMIT, holding the locks."""

            def __getattr__(self, name):
                return getattr(dropping, name)

            async def execute(self, query, *arguments):
                if query == "COMMIT":
                    blocked.set()
                    await go_on.wait()
                return await dropping.execute(query, *arguments)

        slow: Any = Slow()
        drop = asyncio.create_task(PartitionDropper(0).drop(slow))
        await blocked.wait()
        hot_points = "SELECT count(*) FROM metric_points_hot WHERE epoch > $1"
        reading = asyncio.create_task(reader.fetchval(hot_points, visible))
        await waiting_for_a_lock(env.database, reading)
        go_on.set()
        hot = await reading
        _, dropped = await reader.fetchrow(watermark)
        assert await drop == 1
        assert hot == 0
        assert dropped > visible


async def test_ingest_goes_on_while_a_drop_waits_for_a_reader(env):
    (series,) = await env.new_series()
    await env.append(line(series, 0, 10))
    await env.cycle(until="publish")
    async with env.replica() as reader, env.replica() as dropping, reader.transaction():
        await reader.execute("SELECT count(*) FROM metric_points_hot")
        dropper = PartitionDropper(0)
        dropper._lock_timeout_ms = 400
        drop = asyncio.create_task(dropper.drop(dropping))
        for first in range(10, 60, 10):
            await asyncio.wait_for(env.append(line(series, first, 10)), 5)
        assert await drop is None
    await env.cycle()
    await env.check()


async def test_the_schema_refuses_a_second_open_epoch(env):
    with pytest.raises(asyncpg.UniqueViolationError):
        await env.database.execute("INSERT INTO epochs (epoch, state) VALUES (2, 'open')")


async def test_publishing_many_series_with_several_rows_each_takes_no_time_that_grows_with_their_square(env):
    """A large epoch is rolled up in pieces, each of which has a row for each series. Comparing them in pairs would take
    minutes."""
    await env.database.execute(
        "INSERT INTO series (run_id, key, rank, attempt) "
        "SELECT $1, 'many/' || number, 0, 0 FROM generate_series(1, 15000) number",
        env.run_id,
    )
    await env.database.execute(
        "INSERT INTO unpublished_latest_values (epoch, series_id, step, time, value, min_value, min_step, max_value, "
        "max_step) SELECT 1, series_id, piece, now(), piece, piece, piece, piece, piece "
        "FROM series, generate_series(1, 2) piece"
    )
    await env.database.execute("UPDATE epochs SET state = 'rolled' WHERE epoch = 1")
    connection = await env.database.connect_rollup()
    try:
        await connection.execute("SET statement_timeout = '10s'")
        assert await epochs.publish(connection) == 1
    finally:
        connection.terminate()
    found = await env.database.fetchrow(
        "SELECT count(*), min(value), max(value), min(min_value), max(max_value) FROM latest_values"
    )
    assert tuple(found) == (15_000, 2, 2, 1, 2)
