"""The metrics of ingest."""

from __future__ import annotations

import time
from uuid import uuid4

import numpy as np

from runstream_service.ingest.group import SMALL_GROUP_POINTS
from runstream_service.ingest.http_writes import HttpIngest, RunPoints
from tests.integration.ingest.conftest import TIME, acknowledged
from tests.support.callers import ANYONE
from tests.support.polling import until


async def test_what_comes_in_is_counted_by_protocol_also_when_it_is_a_repeat(database, replica, run_id):
    producer = uuid4()
    stream = await replica.open(run_id, producer)
    await replica.send(stream, 1, [1.0, 2.0, 3.0])
    await acknowledged(stream, 1)
    again = await replica.open(run_id, producer)
    await replica.send(again, 1, [1.0, 2.0, 3.0])
    points = RunPoints(
        run_id, uuid4(), ["loss"], np.zeros(1, np.int64), np.full(1, TIME, np.int64), np.ones(1, np.float64)
    )
    await HttpIngest(database, replica.pipeline).write(ANYONE, points)
    assert replica.metric("runstream_batches_received_total", protocol="grpc") == 2
    assert replica.metric("runstream_points_received_total", protocol="grpc") == 6
    assert replica.metric("runstream_batches_received_total", protocol="http") == 1
    assert replica.metric("runstream_points_received_total", protocol="http") == 1
    assert replica.metric("runstream_points_committed_total") == 4


async def test_the_age_of_the_oldest_batch_grows_while_no_commit_succeeds(database, replica, run_id):
    stream = await replica.open(run_id)
    assert replica.metric("runstream_queue_oldest_seconds") == 0
    async with database.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE producers IN ACCESS EXCLUSIVE MODE")
        before = time.monotonic()
        await replica.send(stream, 1, [1.0])
        after = time.monotonic()
        await until(lambda: replica.metric("runstream_queue_oldest_seconds") > 0.1)
        await replica.send(stream, 2, [1.0])
        least, age = time.monotonic() - after, replica.metric("runstream_queue_oldest_seconds")
        assert least <= age <= time.monotonic() - before  # of the first, not of the second
    await acknowledged(stream, 2)
    await until(lambda: replica.metric("runstream_queue_oldest_seconds") == 0)


async def test_encoding_is_measured_by_the_group(replica, run_id):
    stream = await replica.open(run_id)
    await replica.send(stream, 1, [1.0] * (SMALL_GROUP_POINTS + 1))
    await acknowledged(stream, 1)
    assert replica.metric("runstream_encode_seconds_count") == 1
    assert replica.metric("runstream_copy_seconds_count") == 1
