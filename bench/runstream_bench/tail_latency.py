"""How long points take to a subscriber of Tail: from log() of the real client, or from their sending to the service."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc

from runstream.v1 import ingest_pb2, query_pb2
from runstream_bench.load import append

_TAIL = "/runstream.v1.QueryService/Tail"
# A light load: eight ranks of a node, each with a batch of twenty points every half a second.
_PRODUCERS, _EVERY_S, KEYS = 8, 0.5, 20


async def log_to_tail_ms(address: str, run_id: str, seconds: float) -> list[float]:
    """The times from log() in another process to the subscriber, for each point of a run that logs every 20 ms."""
    async with _subscriber(address, run_id) as latencies:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "runstream_bench.tail_producer", address, run_id, str(seconds)
        )
        await process.wait()
    return sorted(latencies)


async def sending_to_tail_ms(address: str, run_id: str, seconds: float) -> list[float]:
    """The times from sending a message to the subscriber, for each point of a run under a light load."""
    async with _subscriber(address, run_id) as latencies:
        await send_steps(address, run_id, producers=_PRODUCERS, every_s=_EVERY_S, seconds=seconds)
    return sorted(latencies)


async def send_steps(address: str, run_id: str, *, producers: int, every_s: float, seconds: float) -> int:
    """Sends a batch of KEYS points, of one step, of each of some ranks, again and again; returns the points, which are
    committed when this returns."""
    batches = round(seconds / every_s) * producers
    async with grpc.aio.insecure_channel(address) as channel:
        call = append(channel)
        for index in range(producers):
            await call.write(_message(open=_open(run_id, index)))
        for _ in range(producers):
            index = ingest_pb2.AppendResponse.FromString(await call.read()).opened.producer_index
            await call.write(_message(declare=_declare(index)))
        reading = asyncio.ensure_future(_read_to_the_end(call))
        begun = time.perf_counter()
        for sent in range(batches):
            await asyncio.sleep(begun + sent * every_s / producers - time.perf_counter())
            await call.write(_message(batch=_batch(sent % producers, sent // producers)))
        await call.done_writing()
        await reading
    return batches * KEYS


@contextlib.asynccontextmanager
async def _subscriber(address: str, run_id: str) -> AsyncIterator[list[float]]:
    """Fills the list until the block ends, and for two seconds after that."""
    async with grpc.aio.insecure_channel(address) as channel:
        ask: Any = channel.unary_stream(_TAIL, response_deserializer=query_pb2.TailResponse.FromString)
        call = ask(query_pb2.TailRequest(run_id=run_id).SerializeToString())
        await call.read()  # the current cursor
        latencies: list[float] = []
        receiving = asyncio.ensure_future(_receive(call, latencies))
        yield latencies
        await asyncio.wait({receiving}, timeout=2.0)
        receiving.cancel()


async def _receive(call: Any, latencies: list[float]) -> None:
    while (update := await call.read()) is not grpc.aio.EOF:
        now_us = time.time_ns() // 1_000
        latencies += [(now_us - logged) / 1_000 for series in update.series for logged in series.time_unix_us]


async def _read_to_the_end(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


def _message(**kind: Any) -> bytes:
    return ingest_pb2.AppendRequest(**kind).SerializeToString()


def _open(run_id: str, index: int) -> ingest_pb2.Open:
    producer = uuid.uuid4().bytes
    return ingest_pb2.Open(run_id=run_id, producer_id=producer, rank=index, producer_index=index, multiplexed=True)


def _declare(index: int) -> ingest_pb2.Declare:
    series = [ingest_pb2.SeriesDeclaration(series_index=key, key=f"metric/{key}") for key in range(KEYS)]
    return ingest_pb2.Declare(series=series, producer_index=index)


def _batch(producer: int, step: int) -> ingest_pb2.Batch:
    return ingest_pb2.Batch(
        producer_index=producer,
        number=step + 1,
        point_count=KEYS,
        series_index=range(KEYS),
        step=[step] * KEYS,
        time_unix_us=[time.time_ns() // 1_000] * KEYS,
        value=[1.0] * KEYS,
    )
