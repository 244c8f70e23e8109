"""The index of hot batches: a read looks at the batches of its runs and ranks alone, and misses none."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from runstream_service.database.pool import Database
from runstream_service.query.reading import hot_windows
from runstream_service.query.reading.read_transaction import ReadPool
from runstream_service.stores import hot_store
from tests.integration.rollup.conftest import RollupEnvironment, line, new_run
from tests.support.hot import put_hot

RANKS = 200


async def scans(database: Database, runs: list[UUID], ranks: list[int]) -> list[dict[str, Any]]:
    """The scans of the partitions of hot batches that a read of points does, with what they really did."""
    copy = hot_store.points_above(0, runs, ranks)
    found: list[dict[str, Any]] = []

    def collect(node: dict[str, Any]) -> None:
        if node.get("Relation Name", "").startswith(hot_store.TABLE):
            found.append(node)
        for child in node.get("Plans", []):
            collect(child)

    async with ReadPool(database, max_reads=1).transaction() as transaction:
        text = await transaction._connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {copy}")
    collect(json.loads(text)[0]["Plan"])
    return found


def looked_at(scan: dict[str, Any]) -> int:
    """How many rows were looked at."""
    removed = sum(count for name, count in scan.items() if name.startswith("Rows Removed"))
    return int((removed + scan["Actual Rows"]) * scan["Actual Loops"])


async def fill(env: RollupEnvironment, run_id: UUID, *, ranks: int = RANKS, commits: int = 5) -> list[int]:
    """A series of each rank; each commit has a batch of every rank."""
    rows = await env.database.fetch(
        "INSERT INTO series (run_id, key, rank, attempt) SELECT $1, 'loss', rank, 0 "
        "FROM generate_series(0, $2::int - 1) rank RETURNING series_id",
        run_id,
        ranks,
    )
    series = sorted(row["series_id"] for row in rows)
    epoch = await env.database.fetchval("SELECT epoch FROM epochs WHERE state = 'open'")
    for number in range(commits):
        await put_hot(env.connection, [point for one in series for point in line(one, 20 * number, 20)], epoch=epoch)
    return series


@pytest.mark.parametrize("analyzed", [False, True], ids=["before the first analyze", "analyzed"])
async def test_a_read_of_one_rank_does_not_look_at_the_batches_of_others(env, analyzed):
    await fill(env, env.run_id)
    await fill(env, other := await new_run(env.database))
    if analyzed:
        await env.database.execute("ANALYZE hot_batches_1")
    for run in (env.run_id, other):
        (scan,) = await scans(env.database, [run], [7])
        assert "Index" in scan["Node Type"] or "Bitmap" in scan["Node Type"]
        assert (scan["Actual Rows"] * scan["Actual Loops"], looked_at(scan)) == (5, 5)
    (scan,) = await scans(env.database, [env.run_id, other], [3, 50, 199])
    assert (scan["Actual Rows"] * scan["Actual Loops"], looked_at(scan)) == (30, 30)


async def test_every_partition_has_the_index(env):
    await fill(env, env.run_id)
    for until in ("rotate", "seal", "seal"):
        await fill(env, await new_run(env.database), ranks=100)
        await env.cycle(until=until)
    await fill(env, run := await new_run(env.database))
    found = await scans(env.database, [run], [199])
    assert {scan["Relation Name"] for scan in found} == {f"hot_batches_{epoch}" for epoch in (1, 2, 3, 4)}
    assert sum(scan["Actual Rows"] * scan["Actual Loops"] for scan in found) == 5
    assert sum(map(looked_at, found)) == 5


async def test_reads_find_all_that_was_committed_before_while_others_write(env):
    run, ranks = env.run_id, list(range(10))
    series = await fill(env, run, ranks=10, commits=1)
    committed = 20
    over = asyncio.Event()

    async def append() -> None:
        nonlocal committed
        async with env.replica() as writer:
            for number in range(1, 60):
                await put_hot(writer, [point for one in series for point in line(one, 20 * number, 20)])
                committed = 20 * (number + 1)
        over.set()

    async def read(wanted: list[int]) -> int:
        reads = 0
        pool = ReadPool(env.database, max_reads=1)
        while not over.is_set() or reads < 3:
            before = committed
            async with pool.transaction() as transaction:
                ids = [series[rank] for rank in wanted]
                windows = hot_windows.windows(transaction, ids, runs=[run], ranks=wanted)
                found = {id_: window.of(at) async for window in windows for at, id_ in enumerate(ids)}
            after = committed + 20
            for columns in found.values():
                assert before <= len(columns) <= after
                np.testing.assert_array_equal(columns.step, np.arange(len(columns)))
            assert len({len(columns) for columns in found.values()}) == 1, "a commit is there for all ranks or for none"
            reads += 1
        return reads

    await asyncio.gather(append(), read(ranks), read([3]), read([0, 9]))
