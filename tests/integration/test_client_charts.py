"""Charts, aggregates and latest values through the client, from the real QueryService."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator

import numpy as np
import pytest

import runstream
from runstream_service.database.pool import Database
from tests.support.rpc import serve_on
from tests.support.stored import make_run, prepare, put


@pytest.fixture
async def client(database: Database) -> AsyncIterator[runstream.Client]:
    """A client of a service on this test's database."""
    await prepare(database)
    async with serve_on(database) as services:
        with runstream.Client(services.address) as client:
            yield client


async def test_chart_has_the_spike_and_every_point_once(client: runstream.Client, database: Database) -> None:
    run_id = await make_run(database)
    points = [(step, 1_000 * step, float(step % 7)) for step in range(20_000)]
    points[12_345] = (12_345, 12_345_000, 1e9)
    points[777] = (777, 777_000, math.nan)
    pieces = [points[start : start + 500] for start in range(0, 19_000, 500)]
    await put(database, run_id, "loss", segments=pieces, hot=points[19_000:], rank=3, attempt=2)
    (curve,) = await asyncio.to_thread(client.chart, run_id, "loss", max_buckets=100)
    assert (curve.run_id, curve.key, curve.rank, curve.attempt) == (run_id, "loss", 3, 2)
    assert len(curve) == 100
    assert repr(curve) == "<runstream.ChartSeries 'loss' rank 3: 20000 points in 100 buckets>"
    assert list(curve.point_counts) == [200] * 100
    assert np.frombuffer(curve.max).argmax() == 61
    assert curve.max[61] == 1e9
    assert [i for i, count in enumerate(curve.non_finite_counts) if count] == [3]
    assert (curve.first_positions[61], curve.last_positions[61]) == (12_200, 12_399)
    assert (curve.first[0], curve.last[0], curve.min[0]) == (0.0, 199 % 7, 0.0)
    assert curve.mean[0] == pytest.approx(sum(value for _, _, value in points[:200]) / 200)
    (by_log,) = await asyncio.to_thread(client.chart, run_id, "loss", max_buckets=100, log_origin=0)
    assert list(by_log.first_positions)[:4] == [0, 2, 3, 4]
    assert (sum(by_log.point_counts), max(by_log.max)) == (20_000, 1e9)
    assert by_log.point_counts[-1] == pytest.approx(20_000 * (1 - 20_000 ** (-1 / 100)), abs=500)  # whole segments
    (by_time,) = await asyncio.to_thread(
        lambda: client.chart([run_id], axis="time", min_position=12_340_000, max_position=12_350_000)
    )
    assert list(by_time.first_positions) == list(range(12_340_000, 12_350_001, 1_000))
    assert by_time.min[5] == by_time.max[5] == 1e9


async def test_curves_come_by_run_as_asked_then_key_and_rank(client: runstream.Client, database: Database) -> None:
    runs = [await make_run(database) for _ in range(3)]
    for run_id in runs:
        for key in ("b", "a"):
            for rank in (1, 0):
                await put(database, run_id, key, hot=[(1, 1, 1.0)], rank=rank, attempt=rank)
    curves = await asyncio.to_thread(client.chart, runs[::-1])
    assert [(one.run_id, one.key, one.rank) for one in curves] == [
        (run_id, key, rank) for run_id in runs[::-1] for key in ("a", "b") for rank in (0, 1)
    ]
    assert len(await asyncio.to_thread(lambda: client.chart(runs[0], ["a", "missing"], rank=1, attempt=1))) == 1
    assert await asyncio.to_thread(lambda: client.chart(runs[0], min_position=2)) == []


async def test_newest_attempt_wins_unless_one_is_asked_for(client: runstream.Client, database: Database) -> None:
    run_id = await make_run(database)
    await put(database, run_id, "k", segments=[[(step, step, 0.0) for step in range(10)]], attempt=0)
    await put(database, run_id, "k", hot=[(step, 100 + step, 1.0) for step in range(6, 12)], attempt=1)
    (curve,) = await asyncio.to_thread(client.chart, run_id)
    assert curve.attempt == 1
    assert list(curve.mean) == [0.0] * 6 + [1.0] * 6
    (old,) = await asyncio.to_thread(lambda: client.chart(run_id, attempt=0))
    assert list(old.mean) == [0.0] * 10


async def test_aggregate_names_the_straggler(client: runstream.Client, database: Database) -> None:
    run_id = await make_run(database)
    for rank in range(3):
        times = [(step, step, 1.0 + (rank == 1 and step == 4)) for step in range(8)]
        await put(database, run_id, "step_time", segments=[times[:3], times[3:5]], hot=times[5:], rank=rank)
    curve = await asyncio.to_thread(client.aggregate, run_id, "step_time")
    assert list(curve.first_steps) == list(curve.last_steps) == list(range(8))
    assert list(curve.rank_counts) == [3] * 8
    assert list(curve.max) == [1.0] * 4 + [2.0] + [1.0] * 3
    assert list(curve.max_ranks) == [0] * 4 + [1] + [0] * 3
    assert list(curve.min_ranks) == [0] * 8
    assert list(curve.non_finite_counts) == [0] * 8
    assert curve.mean[4] == pytest.approx(4 / 3)
    assert repr(curve) == "<runstream.AggregateCurve 'step_time': 8 buckets>"
    some = await asyncio.to_thread(lambda: client.aggregate(run_id, "step_time", min_step=3, max_step=4))
    assert list(some.first_steps) == [3, 4]
    await put(database, run_id, "loss", segments=[[(0, 0, 1.0), (1, 1, math.nan)]], hot=[(2, 2, math.inf)])
    assert list((await asyncio.to_thread(client.aggregate, run_id, "loss")).non_finite_counts) == [0, 1, 1]
    assert len(await asyncio.to_thread(client.aggregate, run_id, "unknown")) == 0


async def test_latest_values_of_more_than_one_message(client: runstream.Client, database: Database) -> None:
    run_ids = sorted([await make_run(database), await make_run(database)])
    await database.execute(
        "INSERT INTO series (run_id, key, rank, attempt) SELECT run_id, 'k' || i, 0, 0 FROM runs,"
        " generate_series(1, 9000) AS i"
    )
    await database.execute("INSERT INTO latest_values SELECT series_id, series_id, 'epoch', series_id FROM series")
    found = await asyncio.to_thread(client.latest, run_ids)
    expected = await database.fetch('SELECT run_id, key, series_id FROM series ORDER BY run_id, key COLLATE "C"')
    assert [(one.run_id, one.key, one.step) for one in found] == [(row[0].hex, row[1], row[2]) for row in expected]


async def test_wrong_questions(client: runstream.Client, database: Database) -> None:
    run_id = await make_run(database)
    with pytest.raises(ValueError, match="axis"):
        client.chart(run_id, axis="wall")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_buckets"):
        client.aggregate(run_id, "k", max_buckets=-1)
    for question, field in (
        (lambda: client.chart([]), "run_ids"),
        (lambda: client.chart(run_id, max_buckets=10_001), "max_buckets"),
        (lambda: client.chart(run_id, ["k"] * 1_001), "keys"),
        (lambda: client.aggregate(run_id, "k", max_buckets=10_001), "max_buckets"),
    ):
        with pytest.raises(runstream.InvalidArgument) as caught:
            await asyncio.to_thread(question)
        assert (caught.value.reason, caught.value.field) == ("INVALID_FIELD", field)
    for missing in (lambda: client.chart([run_id, "f" * 32]), lambda: client.aggregate("f" * 32, "k")):
        with pytest.raises(runstream.NotFound) as unknown:
            await asyncio.to_thread(missing)
        assert unknown.value.reason == "RUN_NOT_FOUND"


async def test_more_than_a_thousand_curves_are_refused(client: runstream.Client, database: Database) -> None:
    run_id = await make_run(database)
    await database.execute(
        "INSERT INTO series (run_id, key, rank, attempt) SELECT run_id, 'k' || i, 0, 0 FROM runs,"
        " generate_series(1, 1001) AS i"
    )
    with pytest.raises(runstream.InvalidArgument, match="more than 1,000 series"):
        await asyncio.to_thread(client.chart, run_id)
    assert await asyncio.to_thread(lambda: client.chart(run_id, "k1")) == []


async def test_what_is_being_purged_is_not_there(client: runstream.Client, database: Database) -> None:
    run_id = await make_run(database)
    gone = await put(database, run_id, "gone", segments=[[(1, 1, 1.0)]], hot=[(2, 2, 2.0)])
    await put(database, run_id, "kept", segments=[[(1, 1, 1.0)]], hot=[(2, 2, 2.0)])
    await database.execute("UPDATE series SET purge_epoch = 2 WHERE series_id = $1", gone)
    assert [one.key for one in await asyncio.to_thread(client.chart, run_id)] == ["kept"]
    assert [one.key for one in await asyncio.to_thread(client.latest, run_id)] == ["kept"]
    assert len(await asyncio.to_thread(client.history, run_id, "gone")) == 0
    assert len(await asyncio.to_thread(client.aggregate, run_id, "gone")) == 0
    await database.execute("UPDATE runs SET purge_epoch = 2")
    for call in (client.chart, lambda run_id: client.history(run_id, "kept")):
        with pytest.raises(runstream.NotFound):
            await asyncio.to_thread(call, run_id)
    assert await asyncio.to_thread(client.latest, run_id) == []
