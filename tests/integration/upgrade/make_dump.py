"""Writes a database of the release that this is run with, as SQL: `python -m tests.integration.upgrade.make_dump PATH`.

So it was made, before the next migration was written: version_16.sql by the last code of schema version 16. To keep a
later version, run it again then. It uses nothing but what every release has: ingest, roll-up and PostgreSQL's pg_dump.
"""

from __future__ import annotations

import asyncio
import math
import re
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import numpy as np
from prometheus_client import CollectorRegistry

from runstream.v1 import ingest_pb2
from runstream_service.core.experiments import Experiments
from runstream_service.core.runs import Runs
from runstream_service.database.embedded import EmbeddedPostgres
from runstream_service.database.migrate import migrate
from runstream_service.database.pool import Connection, Database
from runstream_service.ingest.decode import Batch
from runstream_service.ingest.http_writes import HttpIngest, RunPoints
from runstream_service.ingest.limits import MAX_TIME_UNIX_US, MIN_TIME_UNIX_US
from runstream_service.rollup import epochs, rollup
from runstream_service.rollup.metrics import RollupMetrics
from runstream_service.rollup.partitions import PartitionDropper
from tests.integration.ingest.conftest import Replica, Stream, acknowledged, running_replica
from tests.support.callers import ANYONE
from tests.support.databases import FAST, PROGRAMS, short_directory

FINISHED, RUNNING, OVER_HTTP, DELETED = (UUID(int=number) for number in (1, 2, 3, 4))
KEYS = ("loss", "time of a step", "gone")
START_US = 1_770_000_000_000_000
# Beyond what a row of differences takes; and what is not equal to itself, or to what it looks like.
FAR = [
    (-(2**63), MIN_TIME_UNIX_US, math.nan),
    (2**63 - 1, MAX_TIME_UNIX_US, -0.0),
    (2**62, START_US, 5e-324),
    (7, START_US + 1, math.inf),
    (7, START_US + 1, -math.inf),
]


async def fill(database: Database) -> None:
    """Five epochs: dropped, visible, rolled up, sealed and open. Every run has points in each of them."""
    for run_id in (FINISHED, RUNNING, OVER_HTTP, DELETED):
        await database.execute(
            "INSERT INTO runs (run_id, experiment_id, name, started_at) VALUES ($1, 0, $2, now())",
            run_id,
            f"run {run_id.int}",
        )
    async with running_replica(database) as replica:
        streams = [
            await _open(replica, run_id, rank)
            for run_id, ranks in ((FINISHED, 1), (RUNNING, 3), (DELETED, 1))
            for rank in range(ranks)
        ]
        connection = await database.connect_rollup()
        metrics = RollupMetrics(CollectorRegistry())
        for epoch, until in enumerate(("dropped", "visible", "rolled", "sealed", "open")):
            for number in range(2 * epoch + 1, 2 * epoch + 3):
                for stream in streams:
                    await replica.take(stream, _batch(number, stream.producer.rank))
                for stream in streams:
                    await acknowledged(stream, number)
            await _write_over_http(database, replica, epoch)
            await _leave_epoch(connection, metrics, until)
        connection.terminate()
    await _delete(database)
    # Of a series that is gone: nothing of the service does that while there are hot points.
    await database.execute("DELETE FROM series WHERE run_id = $1 AND key = 'loss'", DELETED)
    await database.execute("UPDATE runs SET status = 'finished', ended_at = now() WHERE run_id = $1", FINISHED)
    await _check(database)


async def _open(replica: Replica, run_id: UUID, rank: int) -> Stream:
    producer = UUID(int=1_000 * run_id.int + rank)
    stream = await replica.open(run_id, producer, rank=rank, key=KEYS[0])
    more = [ingest_pb2.SeriesDeclaration(series_index=1 + index, key=key) for index, key in enumerate(KEYS[1:])]
    await replica.pipeline.opener.declare(stream.producer, ingest_pb2.Declare(series=more))
    return stream


def _batch(number: int, rank: int) -> Batch:
    """Each series in turn, as a loop logs them; every fourth batch has strange points as well, and one is long."""
    steps = 84 if (number, rank) == (10, 1) else 3
    points = [
        (series, 10 * number + step, START_US + 1_000_000 * number + 1_000 * step + 7 * rank, step / 4 + rank)
        for step in range(steps)
        for series in range(len(KEYS))
    ]
    if number % 4 == 0:
        points += [(0, *point) for point in FAR]
    series, step, time, value = zip(*points, strict=True)
    return Batch(number, np.array(series, "<u4"), np.array(step, "<i8"), np.array(time, "<i8"), np.array(value, "<f8"))


async def _write_over_http(database: Database, replica: Replica, epoch: int) -> None:
    values = np.array([0.1, math.nan, float(epoch)])
    # The greatest step is in the first epoch, the latest time of it in the third.
    steps = np.array([0, epoch, 100])
    times = np.array([START_US, START_US, START_US + (epoch * 3) % 7])
    write_id = UUID(int=100 + epoch)
    points = RunPoints(OVER_HTTP, write_id, [KEYS[0]] * 3, steps, times, values)
    await HttpIngest(database, replica.pipeline).write(ANYONE, points)


async def _delete(database: Database) -> None:
    """A series, and a run: marked, as their points are in use."""
    runs = Runs(database, Experiments(database))
    assert await runs.delete_series(ANYONE, FINISHED.hex, ["gone"]) == 1
    await runs.delete(ANYONE, DELETED.hex)


async def _leave_epoch(connection: Connection, metrics: RollupMetrics, state: str) -> None:
    if state == "open":
        return
    await epochs.rotate(connection, max_points=1, max_age_s=0)
    while not await epochs.seal(connection):
        await asyncio.sleep(0.01)
    if state in ("dropped", "visible", "rolled"):
        assert await rollup.roll(connection, metrics)
    if state in ("dropped", "visible"):
        assert await epochs.publish(connection) == 1
    if state == "dropped":
        assert await PartitionDropper(0).drop(connection) == 1


async def _check(database: Database) -> None:
    states = await database.fetch("SELECT state FROM epochs ORDER BY epoch")
    assert [state for (state,) in states] == ["dropped", "visible", "rolled", "sealed", "open"], states


async def dump() -> str:
    """A filled database as SQL that needs no psql."""
    with short_directory() as directory:
        postgres = EmbeddedPostgres(directory / "postgres", options=FAST)
        await postgres.start()
        try:
            database = await Database.open(postgres.url)
            version = await migrate(database)
            await fill(database)
            await database.close()
            command = [str(PROGRAMS / "pg_dump"), "--no-owner", "--no-privileges", "--inserts", "--rows-per-insert=500"]
            text = subprocess.run([*command, postgres.url], capture_output=True, text=True, check=True).stdout
        finally:
            await postgres.stop()
    # Without the commands of psql, the settings that only some versions of PostgreSQL have, and headlines.
    text = re.sub(r"(?m)^(\\.*|SET (?!check_function_bodies).*|--|-- (Name|Data|Dumped|PostgreSQL).*)\n", "", text)
    text = re.sub(r"\n{3,}", "\n\n", text)
    # Without quotes, this is the whole number, which has no sign.
    text = text.replace(", -0)", ", '-0')")
    return f"-- A database of schema version {version}, by tests/integration/upgrade/make_dump.py.\n{text}"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(asyncio.run(dump()))
