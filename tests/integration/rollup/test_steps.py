"""Rotate, seal, roll, publish, drop: each step, alone and by two at once."""

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

# Rotate and seal ------------------------------------------------------------------------------------------------------


async def test_an_epoch_closes_when_it_is_full_and_not_before(lab):
    (series,) = await lab.new_series()
    await lab.append(line(series, 0, 99))
    assert await epochs.rotate(lab.connection, max_points=100, max_age_s=60) is None
    await lab.append(line(series, 99, 1))
    assert await epochs.rotate(lab.connection, max_points=100, max_age_s=60) == 1
    assert await lab.states() == {1: "closing", 2: "open"}
    assert await epochs.rotate(lab.connection, max_points=100, max_age_s=60) is None


async def test_an_old_epoch_closes_unless_it_is_empty(lab):
    (series,) = await lab.new_series()
    assert await epochs.rotate(lab.connection, max_points=100, max_age_s=0) is None
    await lab.append(line(series, 0, 1))
    assert await epochs.rotate(lab.connection, max_points=100, max_age_s=60) is None
    await lab.database.execute("UPDATE commits SET committed_at = now() - interval '61 s'")
    assert await epochs.rotate(lab.connection, max_points=100, max_age_s=60) == 1


async def test_two_replicas_that_rotate_at_once_close_one_epoch(lab):
    (series,) = await lab.new_series()
    await lab.append(line(series, 0, 10))
    async with lab.replica() as other:
        closed = await asyncio.gather(
            *(epochs.rotate(connection, max_points=10, max_age_s=60) for connection in (lab.connection, other))
        )
    assert sorted(closed, key=str) == [1, None]
    assert await lab.states() == {1: "closing", 2: "open"}


async def test_an_epoch_is_not_sealed_while_somebody_writes_it(lab):
    (series,) = await lab.new_series()
    await lab.append(line(series, 0, 1))
    async with lab.replica() as writer:
        async with lab.appending(line(series, 1, 5), writer):
            await epochs.rotate(lab.connection, max_points=1, max_age_s=60)
            assert not await epochs.seal(lab.connection)
            assert (await lab.states())[1] == "closing"
            # Others write on meanwhile, into the next one, and do not wait.
            await lab.append(line(series, 6, 1))
        assert await epochs.seal(lab.connection)
    await lab.cycle(until="publish")
    await lab.check()
    assert await lab.counts() == [6, 1]


async def test_a_late_writer_that_read_the_old_epoch_goes_to_the_new_one(lab, database):
    """It looked before the epoch closed, and gets the lock after it was sealed."""
    (series,) = await lab.new_series()
    await lab.append(line(series, 0, 1))
    async with lab.replica() as sealer, lab.replica() as writer:
        async with sealer.transaction():
            await sealer.execute("SELECT pg_advisory_xact_lock($1, 1)", epochs.WRITERS_LOCK)
            late = asyncio.create_task(lab.append(line(series, 1, 5), writer))
            while not await database.fetchval(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            ):
                await asyncio.sleep(0.005)
            await epochs.rotate(lab.connection, max_points=1, max_age_s=60)
            await sealer.execute("UPDATE epochs SET state = 'sealed' WHERE epoch = 1")
        await late
    await lab.cycle(until="publish")
    assert await lab.database.fetch("SELECT DISTINCT epoch FROM metric_points_hot WHERE step > 0") == [(2,)]
    await lab.cycle()
    await lab.check()


# Roll -----------------------------------------------------------------------------------------------------------------


async def test_what_was_appended_is_in_segments_afterwards_and_hot_is_empty(lab):
    one, two = await lab.new_series(2)
    await lab.append(line(one, 0, 1_500) + line(two, 0, 10, value=0.1))
    await lab.append(
        [(one, -(2**63), -63_082_281_600_000_000, math.nan), (one, 2**63 - 1, 252_455_615_999_999_999, -math.inf)]
    )
    await lab.append([(two, 5, 3, -0.0), (two, 5, 3, -0.0), (two, 4, 9, 5e-324), (two, 20, 0, math.inf)])
    await lab.cycle()
    await lab.check()
    assert await lab.hot_rows() == 0
    assert await lab.states() == {1: "dropped", 2: "open"}
    assert await lab.database.fetchval("SELECT count(*) FROM commits") == 0
    assert tuple(await lab.database.fetchrow("SELECT visible_epoch, dropped_epoch FROM watermark")) == (1, 1)
    row = await lab.database.fetchrow("SELECT point_count, segment_count, rolled_at FROM epochs WHERE epoch = 1")
    assert row[:2] == (len(lab.expected), 3)


async def test_an_epoch_larger_than_memory_allows_is_rolled_up_piece_by_piece(lab):
    series = await lab.new_series(3)
    for first in range(0, 2_000, 100):
        await lab.append([point for one in series for point in line(one, first, 100)])
    await lab.cycle(until="seal")
    pieces = []

    class Counting:
        """Counts the COPYs out."""

        def __getattr__(self, name):
            if name == "copy_from_query":
                pieces.append(name)
            return getattr(lab.connection, name)

    counting: Any = Counting()
    rolled = await rollup.roll(counting, lab.metrics, piece_points=1_500)
    assert rolled is not None
    assert (rolled.read, rolled.points) == (6_000, 6_000)
    assert len(pieces) >= 4
    await lab.cycle(until="publish")
    await lab.check()


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
async def test_an_epoch_with_other_points_than_were_acknowledged_is_kept_as_it_is(lab, damage, piece_points):
    (series,) = await lab.new_series()
    for first in (0, 10, 20):
        await lab.append(line(series, first, 10))
    await lab.cycle(until="seal")
    await lab.database.execute(damage)
    with pytest.raises(rollup.PointsMissing, match="epoch 1"):
        await rollup.roll(lab.connection, lab.metrics, piece_points=piece_points)
    assert await lab.states() == {1: "sealed", 2: "open"}
    assert await lab.counts() == []
    assert await lab.database.fetchval("SELECT count(*) FROM unpublished_latest_values") == 0


async def test_an_epoch_whose_points_are_all_of_a_run_that_is_gone_passes(lab):
    await put_hot(lab.connection, line(series=10**6, first=0, count=300))
    await lab.cycle()
    assert await lab.states() == {1: "dropped", 2: "open"}
    assert await lab.counts() == []


async def test_two_roll_ups_at_once_share_the_epochs(lab):
    series = await lab.new_series(50)
    for first in (0, 100, 200):
        await lab.append([point for one in series for point in line(one, first, 100)])
        await lab.cycle(until="seal")
    async with lab.replica() as other, lab.replica() as third:
        for _ in range(2):
            await asyncio.gather(
                *(rollup.roll(connection, lab.metrics) for connection in (lab.connection, other, third))
            )
    assert list((await lab.states()).values()) == ["rolled", "rolled", "rolled", "open"]
    await lab.cycle(until="publish")
    await lab.check()
    assert await lab.latest() == dict.fromkeys(series, (299, 299_000_000, "0.5"))


async def test_an_epoch_becomes_visible_only_after_the_one_before(lab):
    (series,) = await lab.new_series()
    for first in (0, 10):
        await lab.append(line(series, first, 10))
        await lab.cycle(until="seal")
    async with lab.replica() as other:
        async with other.transaction():
            await other.execute("SELECT FROM epochs WHERE epoch = 1 FOR UPDATE")  # somebody is at it
            rolled = await rollup.roll(lab.connection, lab.metrics)
            assert rolled is not None
            assert rolled.epoch == 2
        assert await epochs.publish(lab.connection) == 0
    await lab.check()
    await rollup.roll(lab.connection, lab.metrics)
    assert await epochs.publish(lab.connection) == 2
    await lab.check()


async def test_points_of_series_that_are_deleted_or_marked_are_not_rolled_up(lab):
    gone, marked, kept = await lab.new_series(3)
    await lab.append([*line(gone, 0, 5), *line(marked, 0, 5), *line(kept, 0, 5)])
    await lab.database.execute("DELETE FROM series WHERE series_id = $1", gone)
    await lab.database.execute("UPDATE series SET purge_epoch = 1 WHERE series_id = $1", marked)
    await lab.cycle()
    assert await lab.database.fetch("SELECT series_id, point_count FROM metric_segments") == [(kept, 5)]
    assert set(await lab.latest()) == {kept}


async def test_an_epoch_without_points_passes(lab):
    async with lab.connection.transaction():
        await lab.connection.execute("INSERT INTO commits (commit_no, epoch, point_count) VALUES (7, 1, 0)")
    await lab.cycle()
    assert await lab.states() == {1: "dropped", 2: "open"}


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
async def test_the_latest_value_is_the_greatest_over_all_epochs(lab, first, second, greatest):
    (series,) = await lab.new_series()
    for points in (first, second):
        await lab.append([(series, *point) for point in points])
        await lab.cycle()
    assert await lab.latest() == {series: greatest}
    assert await lab.best() == lab.expected_best()


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
async def test_best_values_are_over_all_epochs_with_the_first_step_of_each(lab, epochs, best):
    (series,) = await lab.new_series()
    for points in epochs:
        await lab.append([(series, *point) for point in points])
        await lab.cycle()
    assert await lab.best() == {series: best} == lab.expected_best()


async def test_a_series_in_several_pieces_of_an_epoch_has_one_best_value(lab, monkeypatch):
    monkeypatch.setattr(rollup, "_PART_POINTS", 1_000)
    series = await lab.new_series(3)
    rng = random.Random(7)
    for _ in range(4):
        await lab.append([(one, step, 0, float(rng.randint(0, 50))) for one in series for step in range(2_500)])
    await lab.steps()["rotate"](lab.connection)
    await lab.steps()["seal"](lab.connection)
    await rollup.roll(lab.connection, lab.metrics, piece_points=5_000)
    assert await lab.database.fetchval("SELECT count(*) FROM unpublished_latest_values") > 20
    await lab.steps()["publish"](lab.connection)
    assert await lab.best() == lab.expected_best()


# Drop -----------------------------------------------------------------------------------------------------------------


async def test_a_partition_stays_as_long_as_a_read_may_take(lab):
    (series,) = await lab.new_series()
    await lab.append(line(series, 0, 10))
    await lab.cycle(until="publish")
    assert await PartitionDropper(60).drop(lab.connection) is None
    await lab.database.execute("UPDATE epochs SET visible_at = visible_at - interval '60 s' WHERE epoch = 1")
    assert await PartitionDropper(60).drop(lab.connection) == 1
    assert await lab.database.fetchval("SELECT to_regclass('hot_batches_1')") is None
    await lab.check()


async def test_a_drop_waits_shortly_for_a_reader_and_comes_again(lab):
    (series,) = await lab.new_series()
    await lab.append(line(series, 0, 10))
    await lab.cycle(until="publish")
    dropper = PartitionDropper(0)
    async with lab.replica() as reader:
        async with reader.transaction():
            await reader.execute("SELECT count(*) FROM metric_points_hot")
            assert await dropper.drop(lab.connection) is None
            # Nothing of it is left, and a new reader need not wait.
            assert await lab.states() == {1: "visible", 2: "open"}
            await lab.check()
        assert await dropper.drop(lab.connection) == 1


async def test_a_reader_that_misses_dropped_rows_finds_d_above_its_w(lab):
    """What promise 4 needs: never are the rows gone while D says that they are there."""
    (series,) = await lab.new_series()
    await lab.append(line(series, 0, 10))
    await lab.cycle(until="seal")
    watermark = "SELECT visible_epoch, dropped_epoch FROM watermark"
    async with lab.replica() as reader, lab.replica() as dropping:
        visible, _ = await reader.fetchrow(watermark)
        await lab.cycle(until="publish")
        blocked = asyncio.Event()

        class Slow:
            """Stops before COMMIT, holding the locks."""

            def __getattr__(self, name):
                return getattr(dropping, name)

            async def execute(self, query, *arguments):
                if query == "COMMIT":
                    blocked.set()
                    await asyncio.sleep(0.05)
                return await dropping.execute(query, *arguments)

        slow: Any = Slow()
        drop = asyncio.create_task(PartitionDropper(0).drop(slow))
        await blocked.wait()
        hot = await reader.fetchval("SELECT count(*) FROM metric_points_hot WHERE epoch > $1", visible)
        _, dropped = await reader.fetchrow(watermark)
        assert await drop == 1
        assert hot == 0
        assert dropped > visible


async def test_ingest_goes_on_while_a_drop_waits_for_a_reader(lab):
    (series,) = await lab.new_series()
    await lab.append(line(series, 0, 10))
    await lab.cycle(until="publish")
    async with lab.replica() as reader, lab.replica() as dropping, reader.transaction():
        await reader.execute("SELECT count(*) FROM metric_points_hot")
        dropper = PartitionDropper(0)
        dropper._lock_timeout_ms = 400
        drop = asyncio.create_task(dropper.drop(dropping))
        for first in range(10, 60, 10):
            await asyncio.wait_for(lab.append(line(series, first, 10)), 5)
        assert await drop is None
    await lab.cycle()
    await lab.check()


async def test_the_schema_refuses_a_second_open_epoch(lab):
    with pytest.raises(asyncpg.UniqueViolationError):
        await lab.database.execute("INSERT INTO epochs (epoch, state) VALUES (2, 'open')")


async def test_publishing_many_series_with_several_rows_each_takes_no_time_that_grows_with_their_square(lab):
    """A large epoch is rolled up in pieces, each of which has a row for each series. In pairs, they take minutes."""
    await lab.database.execute(
        "INSERT INTO series (run_id, key, rank, attempt) "
        "SELECT $1, 'many/' || number, 0, 0 FROM generate_series(1, 15000) number",
        lab.run_id,
    )
    await lab.database.execute(
        "INSERT INTO unpublished_latest_values (epoch, series_id, step, time, value, min_value, min_step, max_value, "
        "max_step) SELECT 1, series_id, piece, now(), piece, piece, piece, piece, piece "
        "FROM series, generate_series(1, 2) piece"
    )
    await lab.database.execute("UPDATE epochs SET state = 'rolled' WHERE epoch = 1")
    connection = await lab.database.connect_rollup()
    try:
        await connection.execute("SET statement_timeout = '10s'")
        assert await epochs.publish(connection) == 1
    finally:
        connection.terminate()
    found = await lab.database.fetchrow(
        "SELECT count(*), min(value), max(value), min(min_value), max(max_value) FROM latest_values"
    )
    assert tuple(found) == (15_000, 2, 2, 1, 2)
