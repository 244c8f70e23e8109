"""The index of hot rows: what is summarised is skipped, and nothing is missed whenever that happens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from runstream_service.query.reading import hot_rows
from runstream_service.query.reading.hot_rows import spans_of
from runstream_service.query.reading.read_transaction import SQL, ReadPool, bind
from runstream_service.rollup import partitions
from runstream_service.storage.database import Database
from tests.integration.rollup.conftest import Lab, line


async def plan(database: Database, series_ids: list[int]) -> list[dict[str, Any]]:
    """The scans of partitions that a read of hot rows does, with what they really did."""
    statement = bind(SQL["hot_points"], series_ids, 0, 0, 2**63 - 1, spans_of(series_ids))
    async with ReadPool(database, max_reads=1).transaction() as transaction, transaction.hot_rows():
        connection = transaction._connection
        text = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}")
    scans: list[dict[str, Any]] = []

    def collect(node: dict[str, Any]) -> None:
        if node.get("Relation Name", "").startswith("metric_points_hot"):
            scans.append(node)
        for child in node.get("Plans", []):
            collect(child)

    collect(json.loads(text)[0]["Plan"])
    return scans


def looked_at(scan: dict[str, Any]) -> int:
    """Rows that were looked at."""
    removed = sum(count for name, count in scan.items() if name.startswith("Rows Removed"))
    return int(removed + scan["Actual Rows"])


async def test_a_read_looks_at_few_rows_of_what_is_summarised(lab: Lab) -> None:
    series = await lab.new_series(100)
    for first in (0, 300):
        await lab.append([point for one in series for point in line(one, first, 300)])
    (scan,) = await plan(lab.database, series[10:20])
    assert scan["Node Type"] == "Bitmap Heap Scan"
    assert looked_at(scan) > 50_000
    assert await partitions.summarise(lab.connection) > 50
    (scan,) = await plan(lab.database, series[10:20])
    assert scan["Node Type"] == "Bitmap Heap Scan"
    assert scan["Actual Rows"] == 6_000
    assert looked_at(scan) < 12_000
    assert await partitions.summarise(lab.connection) == 0


async def test_every_partition_gets_the_index(lab: Lab) -> None:
    series = await lab.new_series(100)
    for until in ("rotate", "seal", "seal"):
        await lab.append([point for one in series for point in line(one, 0, 100)])
        await lab.cycle(until=until)
    await lab.append([point for one in series for point in line(one, 0, 100)])
    await lab.cycle(until="index")
    scans = await plan(lab.database, [series[50]])
    assert sorted(scan["Relation Name"] for scan in scans) == [f"metric_points_hot_{n}" for n in (1, 2, 3, 4)]
    for scan in scans:
        assert scan["Actual Rows"] == 100
        assert looked_at(scan) <= 3_000


async def test_rows_that_come_while_pages_are_summarised_are_found(lab: Lab) -> None:
    series = await lab.new_series(30)
    done = asyncio.Event()

    async def summarise() -> None:
        async with lab.replica() as connection:
            while not done.is_set():
                await partitions.summarise(connection)

    async def append(part: list[int]) -> None:
        async with lab.replica() as writer:
            for number in range(40):
                await lab.append([point for one in part for point in line(one, 25 * number, 25)], writer)

    others = [asyncio.create_task(summarise()) for _ in range(2)]
    await asyncio.gather(append(series[:15]), append(series[15:]))
    done.set()
    await asyncio.gather(*others)
    async with ReadPool(lab.database, max_reads=1).transaction() as transaction:
        for wanted in (series, series[7:8], series[::9]):
            async for window in hot_rows.windows(transaction, wanted):
                counts = [len(window.of(position)) for position in range(window.start, window.end)]
                assert counts == [1_000] * len(wanted)


async def test_a_summary_that_was_left_half_made_hides_nothing(lab: Lab) -> None:
    """PostgreSQL puts an empty summary first and fills it then. Who dies between leaves it; it stands for all rows."""
    series = await lab.new_series(50)
    for number in range(8):
        await lab.append([point for one in series for point in line(one, 200 * number, 200)])
        async with lab.replica() as victim:
            work = asyncio.create_task(partitions.summarise(victim))
            await asyncio.sleep(0.001 * number)
            await lab.database.execute("SELECT pg_terminate_backend($1, 10000)", victim.get_server_pid())
            await asyncio.gather(work, return_exceptions=True)
        await lab.check()
    await partitions.summarise(lab.connection)
    await lab.check()


@pytest.mark.parametrize("state", ["closing", "sealed"])
async def test_an_epoch_is_summarised_until_it_is_rolled_up(lab: Lab, state: str) -> None:
    (series,) = await lab.new_series()
    await lab.append(line(series, 0, 1_000))
    await lab.database.execute("UPDATE epochs SET state = $1", state)
    assert await partitions.summarise(lab.connection) > 0


async def test_rows_that_are_copied_while_a_large_partition_is_summarised_are_found(lab: Lab) -> None:
    """With a second page of its map made in the middle of a COPY, the index would miss the rest of that COPY."""
    (series,) = await lab.new_series(1)
    epoch = await lab.database.fetchval("SELECT epoch FROM epochs WHERE state = 'open'")
    partition = f"metric_points_hot_{epoch}"
    columns = ("series_id", "step", "time", "value", "epoch", "commit_no")
    pages = f"SELECT pg_relation_size('{partition}') / 8192"
    row = "$1::bigint, n, now(), 0.0, $2::int, 1"
    names = ", ".join(columns)
    fill = f"INSERT INTO {partition} ({names}) SELECT {row} FROM generate_series(1::bigint, $3::int) n"
    await lab.database.execute(fill, series, epoch, 100_000)
    rows_a_page = 100_000 / await lab.database.fetchval(pages)
    await lab.database.execute(fill, series, epoch, int(10_870 * rows_a_page) - 100_000)
    assert 10_860 < await lab.database.fetchval(pages) < 10_880
    await partitions.summarise(lab.connection)
    others = series + 1_000_000
    written, summarised = asyncio.Event(), asyncio.Event()

    def rows(first: int, count: int) -> bytes:
        return "".join(f"{others}\t{step}\tnow\t0\t{epoch}\t1\n" for step in range(first, first + count)).encode()

    async def source() -> AsyncIterator[bytes]:
        yield rows(0, 5_000)
        # Until PostgreSQL has put these into pages, which then are beyond the first page of the map.
        written.set()
        await summarised.wait()
        yield rows(5_000, 3_000)

    async def summarise() -> None:
        await written.wait()
        while await lab.database.fetchval(pages) <= 10_890:
            await asyncio.sleep(0.01)
        await partitions.summarise(lab.connection)
        summarised.set()

    async with lab.database.acquire() as writer:
        copying = writer.copy_to_table(partition, source=source(), columns=columns, format="text")
        await asyncio.gather(copying, summarise())
    (scan,) = await plan(lab.database, [others])
    assert scan["Actual Rows"] == 8_000
