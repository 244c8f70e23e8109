"""The view metric_points, and the queries of docs/grafana.md, which must not scan all segments."""

from __future__ import annotations

import json
import struct
from collections import Counter
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import pytest

from runstream_service.database.pool import Database
from tests.support import grafana
from tests.support.hot import put_hot, put_selected
from tests.support.many_runs import fill
from tests.support.markdown import ROOT, Block, blocks_of
from tests.support.rolling import roll_up
from tests.support.tail import new_series

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
YEAR_2000, MICROSECOND = datetime(2000, 1, 1, tzinfo=timezone.utc), timedelta(microseconds=1)
QUERIES = [block for block in blocks_of(ROOT / "docs" / "grafana.md") if block.language == "sql"]


async def test_the_view_has_every_point_once_bit_for_bit(database: Database) -> None:
    run_id = uuid4()
    await database.execute(
        "INSERT INTO runs (run_id, experiment_id, name, started_at) VALUES ($1, 0, 'mine', now())", run_id
    )
    values = [0.1, float("nan"), float("inf"), float("-inf"), -0.0, 5e-324, 3.0, 2.5]
    points = {
        "regular": [(step, START + timedelta(seconds=step), float(step)) for step in range(2_500)],
        "odd": [(7 * i - i % 3, START - timedelta(microseconds=i * i), value) for i, value in enumerate(values)],
        "far apart": [(i, START + i * timedelta(days=1_000), 1.5) for i in range(5)],
        "repeated": [(1, START, 1.0)] * 3,
    }

    async def add(part: slice) -> None:
        epoch = await database.fetchval("SELECT epoch FROM epochs WHERE state = 'open'")
        for key, of_key in points.items():
            series_id = await new_series(database, run_id, key, rank=2, attempt=1)
            rows = [(series_id, step, (time - YEAR_2000) // MICROSECOND, value) for step, time, value in of_key[part]]
            async with database.acquire() as connection:
                await put_hot(connection, rows, epoch=epoch)

    for part in (slice(0, None, 3), slice(1, None, 3), slice(2, None, 3)):
        await add(part)
        if part.start < 2:
            await roll_up(database)
    rows = await database.fetch("SELECT * FROM metric_points")
    assert {(row["experiment"], row["run_id"], row["run_name"], row["rank"], row["attempt"]) for row in rows} == {
        ("Default", UUID(str(run_id)), "mine", 2, 1)
    }
    assert await database.fetchval("SELECT count(*) FROM metric_segments") > 0
    found = Counter((row["key"], row["step"], row["time"], struct.pack(">d", row["value"])) for row in rows)
    assert found == Counter((key, s, t, struct.pack(">d", v)) for key, of_key in points.items() for s, t, v in of_key)


async def test_hot_points_of_a_producer_are_found_by_an_index_and_unpacked_alone(database: Database) -> None:
    """Of 40 producers with 50 keys and 200 steps each, 10,000 points of one, and 200 of one key, with a condition on
    time."""
    run_id, keys, steps = uuid4(), 50, 200
    await database.execute(
        "INSERT INTO runs (run_id, experiment_id, name, started_at) VALUES ($1, 0, 'hot', now())", run_id
    )
    await database.execute(
        "INSERT INTO series (run_id, key, rank, attempt) SELECT $1, 'key' || k, r, 0 "
        "FROM generate_series(0, 39) r, generate_series(1, $2::int) k",
        run_id,
        keys,
    )
    await database.execute(
        put_selected(
            "SELECT series_id, step, timestamptz '2026-01-01' + step * interval '1 s', step / 8.0 "
            f"FROM series, generate_series(1, {steps}) step ORDER BY step, series_id"
        )
    )
    of_producer = f"SELECT step, time, value FROM metric_points WHERE run_id = '{run_id}' AND rank = 7"
    of_key = f"{of_producer} AND key = 'key3' AND time >= '2026-01-01'"
    for query, expected in ((of_producer, keys * steps), (of_key, steps)):
        rows = await database.fetch(query)
        assert len(rows) == expected
        assert all(row["value"] == row["step"] / 8 for row in rows)
        nodes = await nodes_of(database, query)
        (batches,) = [node for node in nodes if node.get("Relation Name", "").startswith("hot_batches")]
        assert batches["Actual Rows"] == keys * steps / 250
        indexes = [node["Index Name"] for node in nodes if "hot_batches" in node.get("Index Name", "")]
        assert indexes == ["hot_batches_1_run_id_rank_commit_no_idx"]
    # Of the other keys, only the series is unpacked.
    (unpacked,) = [node for node in nodes if node["Node Type"] == "Subquery Scan" and "time" in node.get("Filter", "")]
    assert unpacked["Actual Loops"] == steps


async def nodes_of(database: Database, query: str) -> list[dict[str, Any]]:
    """All nodes of the plan of a query, with their actual rows."""
    (plan,) = json.loads(await database.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}"))
    found, waiting = [], [plan["Plan"]]
    while waiting:
        node = waiting.pop()
        found.append(node)
        waiting += node.get("Plans", [])
    return found


@pytest.mark.parametrize("block", QUERIES, ids=lambda block: block.where)
async def test_queries_of_the_document_work_and_scan_no_segments_in_vain(database: Database, block: Block) -> None:
    await fill(database)
    run_id = await database.fetchval("SELECT run_id FROM runs JOIN experiments e USING (experiment_id) LIMIT 1")
    query = grafana.expand(block.text, {"run": run_id.hex}, START + timedelta(minutes=1), START + timedelta(minutes=10))
    assert len(await database.fetch(query)) > 0
    plan = "\n".join(row[0] for row in await database.fetch(f"EXPLAIN {query}"))
    assert "Seq Scan on metric_segments" not in plan
    if "metric_points" in query:
        assert "metric_segments_by_series" in plan


@pytest.mark.parametrize("block", QUERIES, ids=lambda block: block.where)
async def test_queries_of_the_document_find_nothing_while_the_variable_is_empty(
    database: Database, block: Block
) -> None:
    query = grafana.expand(block.text, {"run": ""}, START, START + timedelta(minutes=10))
    assert await database.fetch(query) == []


async def test_the_panel_has_the_documented_plan_and_its_sums(database: Database) -> None:
    await fill(database)
    run_id = await database.fetchval("SELECT run_id FROM runs LIMIT 1")
    until = START + timedelta(minutes=10, microseconds=-1)
    query = grafana.expand(QUERIES[0].text, {"run": str(run_id)}, START, until, interval="100s")
    plan = "\n".join(row[0] for row in await database.fetch(f"EXPLAIN (COSTS OFF) {query}"))
    (documented,) = [block.text for block in blocks_of(ROOT / "docs" / "grafana.md") if block.language == "text"]
    for line in documented.replace("...", str(run_id)).splitlines():
        assert line.strip() in plan, plan
    rows = await database.fetch(query)
    assert len(rows) == 4 * 6
    assert {(row["mean"], row["min"], row["max"]) for row in rows} == {(49.5, 0.0, 99.0)}
