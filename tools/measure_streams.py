"""Measures what ingest streams cost a replica at its limits; docs/sizing.md has the figures.

    .venv/bin/python tools/measure_streams.py cancelled 20000
    .venv/bin/python tools/measure_streams.py herd 10000
    .venv/bin/python tools/measure_streams.py idle 5000
    .venv/bin/python tools/measure_streams.py batches 5000 1000
    .venv/bin/python tools/measure_streams.py keys 1000 2000

Starts a service with a PostgreSQL of its own, causes one of these loads, and prints the results, in about a minute.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import psutil

from runstream.v1 import ingest_pb2, run_pb2, run_pb2_grpc
from runstream_bench import http_client
from runstream_bench.server_process import RunstreamProcess
from runstream_bench.service import service, temporary_postgres

_CHANNELS = 20
_METHOD = "/runstream.v1.IngestService/Append"
_TIME_US = 1_700_000_000_000_000


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Load:
    """A service, a run, and channels to open streams over."""

    def __init__(
        self, running: RunstreamProcess, database_url: str, run_id: str, channels: list[grpc.aio.Channel]
    ) -> None:
        self.service = running
        self.database_url = database_url
        self.run_id = run_id
        self._channels = channels
        self._process = psutil.Process(running.pid)
        self.most_streams = 0.0
        self.most_mb = 0.0

    def call(self, number: int) -> Any:
        """A new Append call."""
        return self._channels[number % len(self._channels)].stream_stream(_METHOD)()

    def open_request(self, rank: int) -> bytes:
        """Open of a new producer."""
        opening = ingest_pb2.Open(run_id=self.run_id, producer_id=uuid.uuid4().bytes, rank=rank, first_unacked=1)
        return ingest_pb2.AppendRequest(open=opening).SerializeToString()

    def metric(self, name: str) -> float:
        """The value of a metric of the service, by its name with labels."""
        lines = http_client.get(f"{self.service.http_url}/metrics").text.splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    @property
    def streams_open(self) -> float:
        """The number of streams that the service counts."""
        return self.metric("runstream_streams_open")

    @property
    def rss_mb(self) -> float:
        """Resident memory of the service."""
        return float(self._process.memory_info().rss) / 1e6

    async def watch(self) -> None:
        """Records the most streams and the most memory until it is cancelled."""
        while True:
            with contextlib.suppress(OSError, psutil.NoSuchProcess):  # it is busy, or ends
                self.most_mb = max(self.most_mb, self.rss_mb)
                self.most_streams = max(self.most_streams, await asyncio.to_thread(lambda: self.streams_open))
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def _load(*options: str) -> AsyncIterator[Load]:
    with tempfile.TemporaryDirectory() as logs:
        async with (
            temporary_postgres() as postgres,
            service(postgres.url, Path(logs) / "log", *options) as running,
            contextlib.AsyncExitStack() as stack,
        ):
            pool = [("grpc.use_local_subchannel_pool", 1)]
            channels = [
                await stack.enter_async_context(grpc.aio.insecure_channel(running.grpc_address, options=pool))
                for _ in range(_CHANNELS)
            ]
            answer = await run_pb2_grpc.RunServiceStub(channels[0]).CreateRun(run_pb2.CreateRunRequest(name="streams"))
            load = Load(running, postgres.url, answer.run.run_id, channels)
            watching = asyncio.create_task(load.watch())
            yield load
            watching.cancel()


async def _open(load: Load, number: int) -> tuple[Any, str]:
    """Opens a stream; returns the call, and `open` or the reason why it ended."""
    call = load.call(number)
    try:
        await call.write(load.open_request(number))
        if await call.read() is not grpc.aio.EOF:
            return call, "open"
    except grpc.aio.AioRpcError:
        pass
    return call, str((await call.code()).name)


async def cancelled(count: int) -> None:
    """Streams that are opened and cancelled within 60 ms."""
    chance = random.Random(1)
    async with _load() as load:

        async def one(number: int) -> None:
            call = load.call(number)
            opening = asyncio.create_task(call.write(load.open_request(number)))
            await asyncio.sleep(chance.uniform(0, 0.06))
            call.cancel()
            opening.cancel()
            await asyncio.wait({opening})

        begun = time.monotonic()
        for first in range(0, count, 50):
            await asyncio.gather(*(one(number) for number in range(first, min(first + 50, count))))
        took_s = time.monotonic() - begun
        await asyncio.sleep(5)
        _say(f"{count} streams opened and cancelled in {took_s:.0f} s: {load.streams_open:.0f} counted as open")
        _say(f"most at a time {load.most_streams:.0f}, memory {load.rss_mb:.0f} MB, most {load.most_mb:.0f} MB")


async def herd(count: int) -> None:
    """Streams that are opened all at once."""
    async with _load() as load:
        idle_mb, begun, at = load.rss_mb, time.monotonic(), Counter[str]()
        last_s = 0.0

        async def one(number: int) -> None:
            nonlocal last_s
            calls[number], outcome = await _open(load, number)
            at[outcome] += 1
            if outcome == "open":
                last_s = time.monotonic() - begun

        calls: list[Any] = [None] * count
        await asyncio.gather(*(one(number) for number in range(count)))
        _say(f"{count} Opens at once: {dict(at)}, the last was open after {last_s:.1f} s")
        _say(f"most at a time {load.most_streams:.0f}, memory {idle_mb:.0f} MB before, most {load.most_mb:.0f} MB")


async def _opened(load: Load, count: int) -> list[Any]:
    calls: list[Any] = []
    for first in range(0, count, 100):
        opened = await asyncio.gather(*(_open(load, number) for number in range(first, min(first + 100, count))))
        assert {outcome for _, outcome in opened} == {"open"}
        calls += [call for call, _ in opened]
    return calls


async def idle(count: int) -> None:
    """Open streams that send nothing."""
    async with _load("--max-streams", str(count)) as load:
        before = load.rss_mb
        calls = await _opened(load, count)
        await asyncio.sleep(2)
        used = load.rss_mb - before
        _say(f"{len(calls)} silent streams: {load.rss_mb:.0f} MB, {1000 * used / count:.0f} kB a stream")


def _declarations(keys: int) -> Iterator[bytes]:
    for first in range(0, keys, 1_000):
        series = [
            ingest_pb2.SeriesDeclaration(series_index=index, key=f"model/layers/{index}/attention/gradient_norm")
            for index in range(first, min(first + 1_000, keys))
        ]
        yield ingest_pb2.AppendRequest(declare=ingest_pb2.Declare(series=series)).SerializeToString()


async def batches(count: int, points: int) -> None:
    """Streams that each wait with a full batch, because no commit succeeds."""
    async with _load("--max-streams", str(count)) as load:
        before = load.rss_mb
        calls = await _opened(load, count)
        (declaration,) = _declarations(1)
        for call in calls:
            await call.write(declaration)
        await asyncio.sleep(1)
        silent = load.rss_mb
        batch = ingest_pb2.Batch(
            number=1, point_count=points, series_index=[0] * points, step=range(points),
            time_unix_us=[_TIME_US] * points, value=[1.0] * points,
        )  # fmt: skip
        message = ingest_pb2.AppendRequest(batch=batch).SerializeToString()
        async with _no_commits(load.database_url):
            writes = [asyncio.ensure_future(call.write(message)) for call in calls]
            await asyncio.wait(writes, timeout=30)
            await asyncio.sleep(3)
            _say(f"{count} streams with a batch of {points} points each that waits: {load.rss_mb:.0f} MB")
            received = load.metric('runstream_points_received_total{protocol="grpc"}')
            _say(f"{before:.0f} MB before, {silent:.0f} MB when open; {load.streams_open:.0f} are open still")
            _say(f"{received / 1e6:.1f} million points were received")
            for write in writes:
                write.cancel()


@contextlib.asynccontextmanager
async def _no_commits(database_url: str) -> AsyncIterator[None]:
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE commits IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


async def keys(count: int, series: int) -> None:
    """Streams with many series each."""
    async with _load("--max-series-per-run", str(2 * count * series)) as load:
        before = load.rss_mb
        calls = await _opened(load, count)
        opened = load.rss_mb
        begun = time.monotonic()
        for first in range(0, count, 20):
            for message in _declarations(series):
                await asyncio.gather(*(call.write(message) for call in calls[first : first + 20]))
        # An empty batch is acknowledged when what came before it is declared.
        empty = ingest_pb2.AppendRequest(batch=ingest_pb2.Batch(number=1)).SerializeToString()
        await asyncio.gather(*(call.write(empty) for call in calls))
        await asyncio.gather(*(call.read() for call in calls))
        took_s = time.monotonic() - begun
        _say(f"{count} streams with {series} series each: {load.rss_mb:.0f} MB, declared in {took_s:.0f} s")
        _say(f"{before:.0f} MB before, {opened:.0f} MB when open, most {load.most_mb:.0f} MB")


MEASURES: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
    measure.__name__: measure for measure in (cancelled, herd, idle, batches, keys)
}


if __name__ == "__main__":
    name, *counts = sys.argv[1:]
    asyncio.run(MEASURES[name](*(int(count) for count in counts)))
