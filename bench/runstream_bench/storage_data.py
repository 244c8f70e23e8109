"""The points of the storage benchmark, and how to wait until they are rolled up."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass

import grpc

from runstream.v1 import ingest_pb2, run_pb2, run_pb2_grpc
from runstream_bench.load import Load, append, batch_message
from runstream_service.database.pool import Database
from runstream_service.rollup.epochs import rotate

TOTAL_POINTS = 75_000_000

# Run with one series of a million points; one of ten ranks with 100,000 each; one to be deleted. Each in batches of
# 10,000: they are there to be read.
LONG = Load(streams=1, batch_points=10_000, keys=1, batches=100)
TEN = Load(streams=10, batch_points=10_000, keys=1, batches=10)
DOOMED_POINTS = 6_500_000
MANY_RUNS, MANY_KEYS, MANY_STEPS = 1_000, 50, 4

_WAITING = """
SELECT coalesce(sum(point_count), 0) FROM commits WHERE epoch > (SELECT visible_epoch FROM watermark)
"""


def doomed(scale: float) -> Load:
    """The run that is deleted at the end."""
    return Load(streams=13, batch_points=10_000, keys=10, batches=max(1, round(DOOMED_POINTS * scale / 130_000)))


def sustained(scale: float) -> Load:
    """The main load: 4,000 series, and at least three epochs of two million points."""
    others = 3_000_000 + DOOMED_POINTS * scale
    points = max(6_500_000, TOTAL_POINTS * scale - others)
    return Load(streams=200, batch_points=250, keys=20, batches=round(points / 50_000))


@dataclass(frozen=True, slots=True)
class ManyRuns:
    """Many small runs, as a team has them."""

    run_ids: list[str]
    points: int


async def push_many_runs(address: str) -> ManyRuns:
    """MANY_RUNS runs of MANY_KEYS metrics with MANY_STEPS points each."""
    run_ids = [uuid.uuid4().hex for _ in range(MANY_RUNS)]
    places = asyncio.Semaphore(50)
    async with grpc.aio.insecure_channel(address) as channel:

        async def push_one(run_id: str) -> None:
            async with places:
                await _push_small_run(channel, run_id)

        await asyncio.gather(*(push_one(run_id) for run_id in run_ids))
    return ManyRuns(run_ids, MANY_RUNS * MANY_KEYS * MANY_STEPS)


async def _push_small_run(channel: grpc.aio.Channel, run_id: str) -> None:
    create = run_pb2.CreateRunRequest(run_id=run_id, experiment="bench-many")
    await run_pb2_grpc.RunServiceStub(channel).CreateRun(create)
    call = append(channel)
    opening = ingest_pb2.Open(run_id=run_id, producer_id=uuid.uuid4().bytes, first_unacked=1)
    series = [ingest_pb2.SeriesDeclaration(series_index=index, key=f"metric/{index}") for index in range(MANY_KEYS)]
    await call.write(ingest_pb2.AppendRequest(open=opening).SerializeToString())
    await call.write(ingest_pb2.AppendRequest(declare=ingest_pb2.Declare(series=series)).SerializeToString())
    await call.write(batch_message(MANY_KEYS * MANY_STEPS, MANY_KEYS, 0))
    await call.done_writing()
    while await call.read() is not grpc.aio.EOF:
        pass


async def close_epoch(database: Database) -> None:
    """Closes the open epoch, which would otherwise wait until it is old enough, while nothing happens."""
    connection = await database.connect_rollup()
    try:
        await rotate(connection, max_points=1, max_age_s=0)
    finally:
        connection.terminate()


async def rolled_up(database: Database) -> None:
    """Waits until no committed point waits for its roll-up."""
    while await database.fetchval(_WAITING):  # noqa: ASYNC110 - PostgreSQL has no event for it
        await asyncio.sleep(0.1)
