"""Large reads use a second connection with the same snapshot, if one is free; the answer is the same."""

from __future__ import annotations

from typing import Any

import pytest

from runstream_service.database.pool import Database
from runstream_service.query import latest as latest_module
from runstream_service.query.charts import chart as chart_module
from runstream_service.query.charts import segment_arrays
from runstream_service.query.charts.chart import Chart, ChartQuery
from runstream_service.query.latest import Latest
from runstream_service.query.reading.read_transaction import ReadPool
from tests.integration.test_reads_during_rollup import CALLER
from tests.support.stored import make_run, prepare, put


async def chart(read_pool: ReadPool, run_ids: list[str]) -> list[Any]:
    found: list[Any] = []

    async def emit(series: Any, buckets: Any) -> None:
        found.append((series, buckets.first_position.tolist(), buckets.mean.tolist()))
        found.append((buckets.point_count.tolist(), buckets.min.tolist(), buckets.max.tolist()))

    await Chart(read_pool).read(CALLER, ChartQuery(run_ids=run_ids, max_buckets=9), emit)
    return found


async def latest(read_pool: ReadPool, run_ids: list[str]) -> list[Any]:
    points = await Latest(read_pool).read(CALLER, run_ids)
    runs = [points.run_ids[run] for run in points.run_index.tolist()]
    keys = [points.keys[key] for key in points.key_index.tolist()]
    return list(zip(runs, keys, points.step.tolist(), points.value.tolist(), strict=True))


@pytest.mark.parametrize("read", [chart, latest])
async def test_two_connections_read_what_one_reads(
    database: Database, database_url: str, read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await prepare(database)
    run_ids = [await make_run(database) for _ in range(5)]
    for number, run_id in enumerate(run_ids):
        for key in ("a", "b"):
            points = [(step, 10 * step, step * number / 8) for step in range(40 + number)]
            await put(database, run_id, key, segments=[points[:15], points[15:30]], hot=points[30:])
    monkeypatch.setattr(chart_module, "_MANY_POINTS", 1)
    monkeypatch.setattr(segment_arrays, "MAX_POINTS", 60)
    monkeypatch.setattr(latest_module, "_FEW_RUNS", 0)
    monkeypatch.setattr(latest_module, "_MANY_RUNS", 2)
    only_one = await Database.open(database_url, max_size=1)
    try:
        with_one = await read(ReadPool(only_one, max_reads=1), run_ids)
    finally:
        await only_one.close()
    assert with_one
    assert database.size == 1
    assert await read(ReadPool(database, max_reads=1), run_ids) == with_one
    assert database.size == 2
