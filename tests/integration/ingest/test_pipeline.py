"""Opening, declaring, draining; back-pressure."""

from __future__ import annotations

import asyncio
import contextlib
from uuid import uuid4

import pytest

from runstream.v1 import ingest_pb2
from runstream_service.errors.core import (
    DatabaseChanged,
    Draining,
    InvalidField,
    LedgerBehind,
    Overloaded,
    RunDeleted,
    RunNotFound,
)
from runstream_service.ingest.http_writes import HttpIngest
from tests.integration.ingest.conftest import acknowledged, running_replica
from tests.integration.ingest.test_http_writes import points
from tests.support.callers import ANYONE, caller_in
from tests.support.locks import waiting_for_locks


async def test_an_unknown_run_is_not_found(replica):
    with pytest.raises(RunNotFound) as caught:
        await replica.open(uuid4())
    assert caught.value.field == "open.run_id"


async def test_a_run_of_another_workspace_looks_like_one_that_does_not_exist(replica, run_id):
    request = ingest_pb2.Open(run_id=run_id.hex, producer_id=uuid4().bytes)
    with pytest.raises(RunNotFound):
        await replica.open_as(caller_in(2, principal="mallory"), request)


async def test_a_deleted_run_takes_no_points_and_a_finished_one_does(database, replica, run_id, stored):
    await database.execute("UPDATE runs SET status = 'finished', ended_at = now() WHERE run_id = $1", run_id)
    stream = await replica.open(run_id)
    await replica.send(stream, 1, [1.0])
    await acknowledged(stream, 1)
    await database.execute("UPDATE runs SET lifecycle = 'deleted' WHERE run_id = $1", run_id)
    with pytest.raises(RunDeleted):
        await replica.open(run_id)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"run_id": "nonsense"}, "open.run_id"),
        ({"run_id": ""}, "open.run_id"),
        ({"run_id": "A" * 32}, "open.run_id"),
        ({"run_id": "'; DROP TABLE runs; --"}, "open.run_id"),
        ({"producer_id": b""}, "open.producer_id"),
        ({"producer_id": b"short"}, "open.producer_id"),
        ({"producer_id": bytes(16)}, "open.producer_id"),
        ({"rank": -2}, "open.rank"),
        ({"attempt": -1}, "open.attempt"),
        ({"rank": -1, "attempt": 1}, "open.attempt"),
    ],
)
async def test_a_field_of_open_in_the_wrong_form_is_named(replica, run_id, change, field):
    request = ingest_pb2.Open(run_id=run_id.hex, producer_id=uuid4().bytes)
    for name, value in change.items():
        setattr(request, name, value)
    with pytest.raises(InvalidField) as caught:
        await replica.open_as(ANYONE, request)
    assert caught.value.field == field


async def test_points_of_mlflows_api_are_one_series_whichever_way_they_come(database, replica, run_id):
    await HttpIngest(database, replica.pipeline).write(ANYONE, points(run_id, [1.0], key="loss"))
    stream = await replica.open(run_id, rank=-1, key="loss")
    await replica.send(stream, 1, [2.0])
    await acknowledged(stream, 1)
    rows = await database.fetch("SELECT series_id, rank, attempt FROM series WHERE run_id = $1", run_id)
    assert [(row["rank"], row["attempt"]) for row in rows] == [(-1, 0)]
    assert await database.fetchval("SELECT count(*) FROM metric_points_hot") == 2


async def test_a_producer_belongs_to_one_rank_of_one_run(replica, run_id):
    producer = uuid4()
    await replica.open(run_id, producer, rank=0)
    with pytest.raises(InvalidField) as caught:
        await replica.open(run_id, producer, rank=1)
    assert caught.value.field == "open.producer_id"


async def test_a_database_that_forgot_acknowledged_batches_is_noticed_and_counted(database, replica, run_id):
    producer = uuid4()
    stream = await replica.open(run_id, producer)
    for number in (1, 2, 3):
        await replica.send(stream, number, [1.0])
    await acknowledged(stream, 3)
    await database.execute("UPDATE producers SET committed_number = 1")  # restored from a backup
    with pytest.raises(LedgerBehind):
        await replica.open(run_id, producer, first_unacked=4)
    assert replica.metric("runstream_batches_lost_total") == 2


async def test_a_stream_that_is_open_while_the_database_forgets_is_opened_again_and_told(database, replica, run_id):
    producer = uuid4()
    stream = await replica.open(run_id, producer)
    for number in (1, 2, 3):
        await replica.send(stream, number, [1.0])
    await acknowledged(stream, 3)
    await database.execute("UPDATE producers SET committed_number = 1")
    await replica.send(stream, 4, [1.0])
    assert isinstance(await asyncio.wait_for(stream.failed, 10), DatabaseChanged), "it is no fault of the client"
    with pytest.raises(LedgerBehind):
        await replica.open(run_id, producer, first_unacked=4)
    assert replica.metric("runstream_batches_lost_total") == 2


async def test_declaring_from_many_ranks_at_once_makes_each_series_once(database, replica, run_id):
    keys = [ingest_pb2.SeriesDeclaration(series_index=index, key=f"k{index % 20}") for index in range(40)]
    streams = [await replica.open(run_id, rank=0, key="k0") for _ in range(8)]
    orders = [keys[shift:] + keys[:shift] for shift in range(1, 9)]
    await asyncio.gather(
        *(
            replica.pipeline.opener.declare(
                stream.producer, ingest_pb2.Declare(series=[k for k in order if k.series_index > 0])
            )
            for stream, order in zip(streams, orders, strict=True)
        )
    )
    assert await database.fetchval("SELECT count(*) FROM series") == 20


async def test_a_full_budget_stops_the_taking_and_memory_stays_bounded(database, run_id, stored):
    async with running_replica(database, max_queued_points=1_000) as replica:
        stream = await replica.open(run_id)
        async with database.acquire() as holder, holder.transaction():
            await holder.execute("SELECT 1 FROM producers FOR UPDATE")
            await replica.send(stream, 1, [0.0] * 600)
            blocked = asyncio.ensure_future(replica.send(stream, 2, [0.0] * 600))
            _, waiting = await asyncio.wait({blocked}, timeout=0.3)
            assert waiting, "the second batch must wait for room"
            assert replica.metric("runstream_queue_points") == 600
        await blocked
        await acknowledged(stream, 2)
        assert replica.metric("runstream_queue_points") == 0
    assert len(await stored()) == 1_200


async def test_batches_that_were_read_and_wait_for_the_queue_are_bounded_and_those_above_are_sent_again(
    database, run_id, stored
):
    async with running_replica(database, max_queued_points=1_000, max_held_points=1_500) as replica:
        streams = [await replica.open(run_id, rank=rank) for rank in range(4)]
        async with database.acquire() as holder, holder.transaction():
            await holder.execute("SELECT 1 FROM producers FOR UPDATE")
            await replica.send(streams[0], 1, [0.0] * 900)
            waiting = [asyncio.ensure_future(replica.send(stream, 1, [1.0] * 700)) for stream in streams[1:3]]
            await asyncio.sleep(0)
            with pytest.raises(Overloaded):
                await replica.send(streams[3], 1, [1.0] * 700)
            assert streams[3].nothing_in_flight
        await asyncio.gather(*waiting)
        for stream in streams[:3]:
            await acknowledged(stream, 1)
        again = await replica.open(run_id, streams[3].producer_id, rank=3)
        await replica.send(again, 1, [1.0] * 700)
        await acknowledged(again, 1)
    assert len(await stored()) == 900 + 3 * 700


async def test_a_slot_is_given_back_however_its_stream_ends(database):
    async with running_replica(database, max_streams=1) as replica:
        for error in (None, Overloaded("x"), asyncio.CancelledError()):
            with contextlib.suppress(Overloaded, asyncio.CancelledError), replica.pipeline.slot(1):
                with pytest.raises(Overloaded) as caught:
                    replica.pipeline.slot(1).__enter__()
                assert caught.value.retry_after_s > 0
                assert replica.metric("runstream_streams_open") == 1
                if error is not None:
                    raise error
            assert replica.metric("runstream_streams_open") == 0


async def test_draining_ends_streams_after_what_they_sent_is_committed(replica, run_id, stored):
    stream = await replica.open(run_id)
    await replica.send(stream, 1, [1.0])
    replica.pipeline.drain()
    assert isinstance(stream.failed.result(), Draining)
    last = asyncio.Event()
    last.set()
    assert (await stream.next_ack(last))[0] == 1
    assert await stream.next_ack(last) is None
    with pytest.raises(Draining):
        await replica.open(run_id)
    assert await stored() == [(1, 1.0)]


async def test_a_stopped_pipeline_drops_what_waits_unacknowledged(database, run_id, stored):
    async with running_replica(database) as replica:
        stream = await replica.open(run_id)
        async with database.acquire() as holder, holder.transaction():
            await holder.execute("SELECT 1 FROM producers FOR UPDATE")
            for number in (1, 2, 3):
                await replica.send(stream, number, [1.0])
            await replica.pipeline.stop()
            assert stream.nothing_in_flight
            assert stream.committed_number == 0
            assert replica.metric("runstream_queue_points") == 0
    assert await stored() == []


async def test_streams_that_open_at_once_leave_connections_to_others(database, run_id):
    async with running_replica(database, max_openings=5) as replica:
        # Those that open wait for the run, with their connections.
        async with database.transaction() as connection:
            await connection.execute("SELECT FROM runs WHERE run_id = $1 FOR UPDATE", run_id)
            opening = [asyncio.create_task(replica.open(run_id, rank=rank)) for rank in range(50)]
            while database.in_use < 6:
                await asyncio.sleep(0.01)
            await waiting_for_locks(database, statements=5)
            assert database.in_use == 6
            assert await asyncio.wait_for(database.fetchval("SELECT 1"), 5) == 1
        assert len(await asyncio.gather(*opening)) == 50


async def test_while_something_urgent_is_under_way_bulk_ingest_pauses_and_then_goes_on(
    monkeypatch, database, replica, run_id
):
    stream, few = await replica.open(run_id), await replica.open(run_id, rank=1)
    monkeypatch.setattr(replica.pipeline.urgent, "_clock", lambda: 1_000.0)
    with replica.pipeline.urgent.under_way():
        assert stream.append.try_take_turn(), "it has few points in the queue"
        await replica.send(few, 1, [1.0])
        await acknowledged(few, 1)
        for number in range(1, 5):
            await replica.send(stream, number, [0.0] * 5_000)
        assert not stream.append.try_take_turn()
        for _ in range(20):
            assert await database.fetchval("SELECT count(*) FROM commits WHERE point_count > 1") == 0
        reading = asyncio.create_task(stream.append.wait_for_turn())
    await acknowledged(stream, 4)
    await reading
    assert await database.fetchval("SELECT sum(point_count) FROM commits") == 20_001
    assert replica.metric("runstream_ingest_pause_seconds_total") == 0  # by the clock, which stood still


async def test_urgent_work_without_end_does_not_stop_bulk_ingest(replica, run_id):
    stream, urgent = await replica.open(run_id), replica.pipeline.urgent
    for number in range(1, 9):
        urgent.begin(f"read {number}")
        await replica.send(stream, number, [0.0] * 5_000)
    while stream.committed_number < 8:
        urgent.begin("a further one")
        await asyncio.sleep(0.01)
    await acknowledged(stream, 8)
    assert replica.metric("runstream_ingest_pause_seconds_total") > 0
