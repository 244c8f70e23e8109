"""Tail on real gRPC servers, callers that collect what they get, and commits made step by step."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import asyncpg
import grpc

from runstream.v1 import query_pb2, query_pb2_grpc
from runstream_service.auth.anonymous import Anonymous
from runstream_service.database.commit_notifier import CommitNotifier
from runstream_service.database.pool import Database
from runstream_service.monitoring.metrics import Metrics
from runstream_service.query.tail.metrics import TailMetrics
from runstream_service.query.tail.tail import Tail
from runstream_service.rpc.interceptor import CallInterceptor
from runstream_service.rpc.tail_handler import tail_handler
from tests.support.hot import copy_batches
from tests.support.points import columns
from tests.support.tasks import end

TIME = datetime(2026, 1, 1, tzinfo=timezone.utc)
TIME_2000 = datetime(2000, 1, 1, tzinfo=timezone.utc)


@dataclass
class TailReplica:
    """The parts of one replica of the service that serve Tail."""

    tail: Tail
    notifier: CommitNotifier
    metrics: Metrics
    stub: query_pb2_grpc.QueryServiceStub
    address: str
    database: Database

    def follow(self, run_id: UUID, *, keys: Sequence[str] = (), rank: int | None = None, cursor: bytes = b"") -> Caller:
        """Begins to follow a run."""
        request = query_pb2.TailRequest(run_id=run_id.hex, keys=keys, rank=rank, cursor=cursor)
        return Caller(self.stub.Tail(request), self)

    async def polled(self, times: int = 3, *, timeout_s: float = 30) -> None:
        """Waits until the shared reader has looked for new commits so often, notified each time.

        The second scan begins after this was called, and what it hands out has arrived by the end of the third: nobody
        notifies twice within a tenth of a second, and all of it is in this process.
        """
        give_up = asyncio.get_running_loop().time() + timeout_s
        enough = self.metric("runstream_tail_poll_seconds_count") + times
        while self.metric("runstream_tail_poll_seconds_count") < enough:
            assert asyncio.get_running_loop().time() < give_up, "nobody takes part in the shared reading"
            await self.database.execute("NOTIFY runstream_commits")
            await asyncio.sleep(0.02)

    def metric(self, name: str) -> float:
        """The value of a Prometheus metric of this replica."""
        return self.metrics.registry.get_sample_value(name) or 0.0


@contextlib.asynccontextmanager
async def tail_replica(database: Database, **timeouts: float) -> AsyncIterator[TailReplica]:
    """Serves Tail from a database."""
    metrics = Metrics(version="test")
    notifier = CommitNotifier(database)
    tail = Tail(database, notifier, TailMetrics(metrics.registry))
    tasks = [asyncio.create_task(notifier.run()), asyncio.create_task(tail.run())]
    server = grpc.aio.server(interceptors=[CallInterceptor(metrics, Anonymous())])
    server.add_generic_rpc_handlers((tail_handler(tail, **timeouts),))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            yield TailReplica(tail, notifier, metrics, query_pb2_grpc.QueryServiceStub(channel), address, database)
    finally:
        tail.drain()
        await server.stop(1)
        ended = await end(*tasks)
        assert all(isinstance(one, asyncio.CancelledError) for one in ended), ended


@dataclass
class Caller:
    """Collects answers in the background: (key, rank, attempt, step, value) of each point, in the order they came."""

    call: Any
    replica: TailReplica
    points: list[tuple[str, int, int, int, float]] = field(default_factory=list)
    answers: int = 0
    cursor: bytes = b""
    marks: list[tuple[bytes, int]] = field(default_factory=list)  # each cursor, and how many points had come with it

    def __post_init__(self) -> None:
        self.task = asyncio.create_task(self._collect())

    async def _collect(self) -> None:
        async for answer in self.call:
            for piece in answer.series:
                name = (piece.series.key, piece.series.rank, piece.series.attempt)
                assert piece.point_count == len(piece.step) == len(piece.value) == len(piece.time_unix_us)
                self.points += [(*name, step, value) for step, value in zip(piece.step, piece.value, strict=True)]
            self.cursor = answer.cursor
            self.answers += 1
            self.marks.append((answer.cursor, len(self.points)))

    async def opened(self) -> Caller:
        """Waits for the first answer."""
        return await self.until(lambda: self.answers > 0)

    async def until(self, condition: Callable[[], bool], *, timeout_s: float = 30) -> Caller:
        """Waits for a condition on what was received; if the call ends before, raises its error."""
        give_up = asyncio.get_running_loop().time() + timeout_s
        while not condition():
            if self.task.done():
                self.task.result()
                raise AssertionError("the call ended without an error")
            assert asyncio.get_running_loop().time() < give_up, f"only {len(self.points)} points: {self.points[:20]}"
            await asyncio.sleep(0.01)
        return self

    async def reached(self, count: int) -> Caller:
        """Waits until `count` points have arrived."""
        return await self.until(lambda: len(self.points) >= count)

    async def got(self, count: int) -> list[int]:
        """Waits until `count` points have arrived, and until one too many would have; returns the steps, sorted."""
        await self.reached(count)
        await self.replica.polled()
        assert len(self.points) == count
        return sorted(point[3] for point in self.points)

    async def ended(self) -> grpc.aio.AioRpcError:
        """Waits for the error that ends the call."""
        try:
            await asyncio.wait_for(self.task, 10)
        except grpc.aio.AioRpcError as error:
            return error
        raise AssertionError("the call ended without an error")

    async def leave(self) -> bytes:
        """Cancels the call; returns the last cursor."""
        self.call.cancel()
        await end(self.task)
        return self.cursor


@dataclass
class ManualCommit:
    """A group commit on a connection of its own, step by step."""

    connection: asyncpg.Connection[asyncpg.Record]
    epoch: int = 1

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(cls, url: str) -> AsyncIterator[ManualCommit]:
        """Connects to a database; a context manager."""
        connection = await asyncpg.connect(url)
        try:
            yield cls(connection)
        finally:
            connection.terminate()

    async def begin(self, series_id: int, steps: Sequence[int], *, values: Sequence[float] | None = None) -> None:
        """Begins a transaction that writes points; `commit` ends it."""
        await self.connection.execute("BEGIN")
        commit_no = await self.connection.fetchval(
            "INSERT INTO commits (commit_no, epoch, point_count) VALUES (nextval('commit_numbers'), $1, $2) "
            "RETURNING commit_no",
            self.epoch,
            len(steps),
        )
        time = (TIME - TIME_2000) // timedelta(microseconds=1)
        points = [(series_id, step, time, value) for step, value in zip(steps, values or steps, strict=True)]
        await copy_batches(self.connection, columns(points), self.epoch, commit_no)

    async def commit(self) -> None:
        """Commits the transaction, and notifies replicas as a writer does."""
        await self.connection.execute("COMMIT")
        await self.connection.execute("NOTIFY runstream_commits")

    async def write(self, series_id: int, steps: Sequence[int], *, values: Sequence[float] | None = None) -> None:
        """Writes points in a transaction of its own."""
        await self.begin(series_id, steps, values=values)
        await self.commit()


async def new_series(database: Database, run_id: UUID, key: str, *, rank: int = 0, attempt: int = 0) -> int:
    """The id of a series, which is made if it does not exist."""
    row = await database.fetchrow("SELECT * FROM resolve_series($1, $2, $3, $4, 1000000)", run_id, rank, attempt, [key])
    assert row is not None
    return int(row["series_id"])
