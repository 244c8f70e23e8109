"""The least and the greatest value of series, as readers get them: from roll-up and from hot points together."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping

import pytest

from runstream_service.query.latest import Latest, LatestPoints
from runstream_service.query.mlflow_view.primary_series import primary_points
from runstream_service.query.reading import hot_windows
from runstream_service.query.reading.read_transaction import ReadPool
from runstream_service.query.run_search import metric_columns
from runstream_service.query.run_search.run_search import RunSearch, RunSearchQuery
from tests.integration.rollup.conftest import RollupEnvironment
from tests.support.callers import ANYONE
from tests.support.points import Point

Best = tuple[float, int, float, int]
VALUES = [0.0, -0.0, 1.5, -2.0, 7.0, 1e300, math.nan, math.inf, -math.inf]


def some_points(rng: random.Random, series: list[int]) -> list[Point]:
    return [(rng.choice(series), rng.randint(-5, 50), 0, rng.choice(VALUES)) for _ in range(rng.randint(1, 30))]


def as_rows(points: LatestPoints) -> dict[str, Best]:
    best = points.best
    assert best is not None
    columns = [column.tolist() for column in (best.min_value, best.min_step, best.max_value, best.max_step)]
    rows = zip(*columns, strict=True)
    return {points.keys[key]: row for key, row in zip(points.key_index.tolist(), rows, strict=True)}


def comparable(rows: Mapping[str, Best]) -> dict[str, str]:
    """Values as text, so that NaN are equal."""
    return {key: repr(tuple(0.0 if value == 0 else value for value in row)) for key, row in rows.items()}


@pytest.mark.parametrize("seed", range(4))
async def test_readers_get_the_best_of_segments_and_hot_points(
    env: RollupEnvironment, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if seed % 2:
        monkeypatch.setattr(hot_windows, "MAX_POINTS", 20)  # windows over some series, or some steps of one
    rng = random.Random(seed)
    series = await env.new_series(4)
    names = {row[0]: row[1] for row in await env.database.fetch("SELECT series_id, key FROM series")}
    latest = Latest(ReadPool(env.database, max_reads=2))
    for _ in range(6):
        await env.append(some_points(rng, series))
        if rng.random() < 0.5:
            await env.cycle(until=rng.choice(["roll", "publish", "merge"]))
        found = as_rows(await latest.read(ANYONE, [env.run_id.hex]))
        expected: dict[str, Best] = {}
        for one, best in env.expected_best().items():
            expected[names[one]] = (math.nan, 0, math.nan, 0) if math.isinf(best[0]) else best
        assert comparable(found) == comparable(expected)


async def test_best_values_of_a_run_are_over_all_ranks_and_attempts(env: RollupEnvironment) -> None:
    rows = await env.database.fetch(
        "INSERT INTO series (run_id, key, rank, attempt) "
        "SELECT $1, 'loss', rank, attempt FROM generate_series(0, 1) rank, generate_series(0, 1) attempt "
        "RETURNING series_id",
        env.run_id,
    )
    first, second, third, fourth = sorted(row[0] for row in rows)
    await env.append([(first, 1, 0, 5.0), (second, 4, 0, 2.0), (third, 3, 0, 2.0), (fourth, 9, 0, math.nan)])
    await env.cycle()
    points = await Latest(ReadPool(env.database, max_reads=1)).read(ANYONE, [env.run_id.hex])
    assert as_rows(primary_points(points)) == {"loss": (2.0, 3, 5.0, 1)}
    await env.append([(fourth, 2, 0, -7.0), (fourth, 1, 0, 5.0), (third, 0, 0, 5.0)])
    points = await Latest(ReadPool(env.database, max_reads=1)).read(ANYONE, [env.run_id.hex])
    assert as_rows(primary_points(points)) == {"loss": (-7.0, 2, 5.0, 0)}


@pytest.mark.parametrize("by_id", [True, False])
async def test_runs_are_found_and_ordered_by_their_best_values(
    env: RollupEnvironment, by_id: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metric_columns, "MANY_RUNS", 1_000 if by_id else 1)
    await env.database.execute("DELETE FROM runs WHERE run_id = $1", env.run_id)
    runs = [
        (await env.database.fetchval(
            "INSERT INTO runs (run_id, experiment_id, name, started_at) "
            "VALUES (gen_random_uuid(), 0, $1, to_timestamp($2::int)) RETURNING run_id", str(number), number,
        ))
        for number in range(4)
    ]  # fmt: skip
    points: list[Point] = []
    # Of each run: two ranks; the last one has no finite value.
    for run, values in zip(runs, [[9.0, 1.0, 5.0], [2.0, 8.0, 3.0], [4.0, 4.0, 4.0], [math.nan]], strict=True):
        for rank in range(2):
            series = await env.database.fetchval(
                "INSERT INTO series (run_id, key, rank, attempt) VALUES ($1, 'loss', $2, 0) RETURNING series_id",
                run,
                rank,
            )
            points += [(series, step, 0, value + rank) for step, value in enumerate(values)]
    env.run_id = runs[0]

    async def found(filter_: str = "", *order_by: str) -> list[int]:
        search = RunSearch(ReadPool(env.database, max_reads=1))
        ids, _ = await search.search(
            ANYONE, RunSearchQuery(experiment_ids=[0], filter=filter_, order_by=order_by or ["start_time"])
        )
        return [runs.index(one) for one in ids]

    for part in (points[::2], points[1::2]):
        await env.append(part)
        if part is points[::2]:
            await env.cycle()
    for _ in range(2):
        assert await found("", "min(metrics.loss)") == [0, 1, 2, 3]
        assert await found("", "MAX(metrics.loss) DESC") == [0, 1, 2, 3]
        assert await found("", "max(metrics.`loss`) ASC") == [2, 1, 0, 3]
        assert await found("min(metrics.loss) <= 2") == [0, 1]
        assert await found("max(metrics.loss) = 5 OR min(metrics.loss) = 1") == [0, 2]
        assert await found("NOT max(metrics.loss) > 5") == [2, 3]
        assert await found("min(metrics.loss) > 1 AND metrics.loss < 4", "max(metrics.loss)") == [1]
        assert await found("min(metrics.nothing) < 5") == []
        await env.cycle()
