"""Pipelines on a real database, and short ways to fill them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from runstream.v1 import ingest_pb2
from runstream_service.core.caller import Caller
from runstream_service.database.pool import Database
from runstream_service.ingest.append_producer import Acknowledged
from runstream_service.ingest.append_stream import AppendStream
from runstream_service.ingest.decode import Batch, Batches
from runstream_service.ingest.metrics import IngestMetrics
from runstream_service.ingest.pipeline import IngestPipeline
from runstream_service.ingest.producer import Producer
from runstream_service.ingest.refusals import Refusal
from tests.support.callers import ANYONE

TIME = 1_700_000_000_000_000


@dataclass
class Stream:
    """A stream with one open producer."""

    append: AppendStream
    producer: Producer

    @property
    def failed(self) -> asyncio.Future[Exception]:
        return self.append.failed

    @property
    def producer_id(self) -> UUID:
        return self.producer.producer_id

    @property
    def session(self) -> int:
        return self.producer.session

    @property
    def committed_number(self) -> int:
        return self.producer.committed_number

    @property
    def nothing_in_flight(self) -> bool:
        return self.producer.nothing_in_flight

    async def next_ack(self, last: asyncio.Event) -> tuple[int, list[Refusal]] | None:
        """The next answer; None at the end."""
        while (updates := await self.append.next_updates(last)) is not None:
            for update in updates:
                if isinstance(update, Acknowledged):
                    return update.committed_number, update.refusals
        return None


@dataclass
class Replica:
    """The pipeline of one replica of the service."""

    pipeline: IngestPipeline
    database: Database
    registry: CollectorRegistry
    streams: contextlib.ExitStack

    async def open(
        self, run_id: UUID, producer: UUID | None = None, *, rank: int = 0, first_unacked: int = 1, key: str = "loss"
    ) -> Stream:
        """Open a producer's stream and declare one series, index 0."""
        request = ingest_pb2.Open(
            run_id=run_id.hex, producer_id=(producer or uuid4()).bytes, rank=rank, first_unacked=first_unacked
        )
        stream = await self.open_as(ANYONE, request)
        declaration = ingest_pb2.SeriesDeclaration(series_index=0, key=key)
        await self.pipeline.opener.declare(stream.producer, ingest_pb2.Declare(series=[declaration]))
        return stream

    async def open_as(self, caller: Caller, request: ingest_pb2.Open) -> Stream:
        """Open a stream with this message; raises what ends it."""
        append = self.streams.enter_context(AppendStream(self.pipeline, caller))
        append.take(request)
        opened = asyncio.ensure_future(append.next_updates(asyncio.Event()))
        ends: set[asyncio.Future[Any]] = {opened, append.failed}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if append.failed.done():
            opened.cancel()
            raise append.failed.result()
        assert opened.done()
        return Stream(append, self.pipeline._producers[UUID(bytes=request.producer_id)])

    async def send(self, stream: Stream, number: int, values: list[float]) -> None:
        """Send one batch of series 0; returns when the next one would be read. Steps tell where a point came from:
        1000 x number + position."""
        await self.take(stream, batch(number, values))

    async def take(self, stream: Stream, one: Batch) -> None:
        """Send one batch; returns when the next one would be read. Raises what ends the stream."""
        stream.append.take(Batches([one], len(one.value)))
        await stream.append.wait_for_room()

    def metric(self, name: str, **labels: str) -> float:
        """The value of a Prometheus metric of this replica."""
        return self.registry.get_sample_value(name, labels) or 0.0


def batch(number: int, values: list[float]) -> Batch:
    count = len(values)
    return Batch(
        number,
        np.zeros(count, "<u4"),
        np.arange(count, dtype="<i8") + 1000 * number,
        np.full(count, TIME, "<i8"),
        np.array(values, "<f8"),
    )


async def acknowledged(stream: Stream, number: int) -> list[Refusal]:
    """Wait until `number` is acknowledged; the refusals told on the way. Raises what ended the stream instead."""
    refusals: list[Refusal] = []
    never = asyncio.Event()
    while True:
        news = asyncio.ensure_future(stream.next_ack(never))
        ends: set[asyncio.Future[Any]] = {news, stream.failed}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED, timeout=30)
        if not news.done():
            news.cancel()
            raise stream.failed.result() if stream.failed.done() else TimeoutError(f"no ack of {number}")
        result = news.result()
        assert result is not None
        committed, told = result
        refusals += told
        if committed >= number:
            return refusals


@pytest.fixture
async def run_id(database: Database) -> UUID:
    """A run to which tests log."""
    return await new_run(database)


async def new_run(database: Database) -> UUID:
    run_id = uuid4()
    await database.execute(
        "INSERT INTO runs (run_id, experiment_id, name, started_at) VALUES ($1, 0, 'test', now())", run_id
    )
    return run_id


@contextlib.asynccontextmanager
async def running_replica(database: Database, **options) -> AsyncIterator[Replica]:
    registry = CollectorRegistry()
    pipeline = IngestPipeline(database, IngestMetrics(registry), **options)
    pipeline.start()
    try:
        with contextlib.ExitStack() as streams:
            yield Replica(pipeline, database, registry, streams)
    finally:
        await pipeline.stop()


@pytest.fixture
async def replica(database: Database) -> AsyncIterator[Replica]:
    async with running_replica(database) as running:
        yield running


@pytest.fixture
async def other_replica(database: Database) -> AsyncIterator[Replica]:
    async with running_replica(database) as running:
        yield running


@pytest.fixture
def stored(database: Database) -> Callable[[], Awaitable[list[tuple[int, float]]]]:
    """All stored values with their epochs, ordered by (rank, step)."""

    async def read() -> list[tuple[int, float]]:
        rows = await database.fetch("SELECT epoch, value FROM metric_points_hot ORDER BY rank, step, value")
        return [(row["epoch"], row["value"]) for row in rows]

    return read


async def mutate(database: Database, function: str, old: str, new: str) -> None:
    """Change a SQL function of this test's database: to see that a test notices when a step is left out."""
    source = await database.fetchval("SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname = $1", function)
    assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times in {function}"
    await database.execute(source.replace(old, new))


async def fail_for(database: Database, value: str, *, state: str = "42P01") -> None:
    """From now on, PostgreSQL fails to store a batch with this value, with an error that the service does not know."""
    await database.execute(
        f"""
        CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF EXISTS (SELECT FROM hot_points(NEW.first_series, NEW.first_step, NEW.first_time, NEW.points)
                        WHERE value = {value}) THEN
                RAISE EXCEPTION 'nobody foresaw this' USING ERRCODE = '{state}';
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER fail BEFORE INSERT ON hot_batches_1 FOR EACH ROW EXECUTE FUNCTION fail();
        """
    )
