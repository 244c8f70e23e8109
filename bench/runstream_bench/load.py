"""Streams that push points as fast as they are acknowledged, for a while, and count only what was acknowledged."""

from __future__ import annotations

import asyncio
import functools
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias

import grpc
import numpy as np

from runstream.v1 import ingest_pb2, packed_pb2, run_pb2, run_pb2_grpc
from runstream_service.server.grpc_events import all_wakeups_read

_APPEND = "/runstream.v1.IngestService/Append"

Metadata: TypeAlias = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Load:
    """`streams` of `producers` each, all of them ranks of one run, sending batches of `batch_points` points of `keys`
    series. Streams of several producers send as an agent does that drains the journals of a node: some batches of each
    producer in one message.
    `window` batches of a producer may wait for their ack. With a `pause_s` above 0 a stream sends one batch per pause,
    spread over it, as workers do not step in time. A stream ends after `batches`, if that comes before the time is
    over; it sends at least once, however short the time and busy the machine. The streams share `connections`, as those
    of a few machines would."""

    streams: int
    batch_points: int
    keys: int = 5
    window: int = 8
    pause_s: float = 0.0
    batches: int = 2**62
    connections: int = 4
    producers: int = 1

    @property
    def name(self) -> str:
        """The name of the load in the keys of the report."""
        of_each = "" if self.producers == 1 else f"x{self.producers}"
        return f"{self.streams}{of_each}x{self.batch_points}"

    def scaled(self, scale: float) -> Load:
        """The same load with a part of the streams, or several times as many; at least one."""
        return replace(self, streams=max(1, round(self.streams * scale)))


@dataclass(slots=True)
class Outcome:
    """The result of one round of a load."""

    run_id: str
    seconds: float
    points_acknowledged: int
    points_refused: int
    batches_acknowledged: list[int]  # by rank
    ack_latencies_s: list[float] = field(default_factory=list)

    @property
    def points_per_s(self) -> float:
        """Acknowledged points per second of sending, until the last ack."""
        return self.points_acknowledged / self.seconds


class _Client(Protocol):
    """One stream: sends batches until a time, and counts what happened to them."""

    refused: int
    latencies_s: list[float]

    async def open(self, run_id: str) -> None: ...

    async def push(self, until: float) -> None: ...

    @property
    def acknowledged_of_each(self) -> list[int]: ...


class _Stream:
    """One producer: writes batches while its window has room, reads acks."""

    def __init__(self, channel: grpc.aio.Channel, load: Load, rank: int, metadata: Metadata = ()) -> None:
        self._channel = channel
        self._metadata = metadata
        self._call: Any = None  # begins to connect as soon as it is made
        self._load = load
        self._rank = rank
        self._sent_at: deque[float] = deque()
        self._room = asyncio.Event()
        self.sent = 0
        self.acknowledged = 0
        self.refused = 0
        self.latencies_s: list[float] = []

    @property
    def acknowledged_of_each(self) -> list[int]:
        return [self.acknowledged]

    async def open(self, run_id: str) -> None:
        self._call = append(self._channel, self._metadata)
        await self._call.write(_open(run_id, self._rank))
        await self._call.write(_declare(self._load.keys))
        await self._call.read()

    async def push(self, until: float) -> None:
        reader = asyncio.create_task(self._read_acks())
        load = self._load
        due = time.perf_counter() + load.pause_s * self._rank / load.streams
        while not self.sent or (self.sent < load.batches and time.perf_counter() < until):
            while self.sent - self.acknowledged >= load.window:
                self._room.clear()
                await self._room.wait()
            if load.pause_s:
                await asyncio.sleep(due - time.perf_counter())
                due += load.pause_s
            self._sent_at.append(time.perf_counter())  # before: the acknowledgement can be faster than the return
            await self._call.write(batch_message(load.batch_points, load.keys, self.sent) + _stamp())
            self.sent += 1
        await self._call.done_writing()
        await reader

    async def _read_acks(self) -> None:
        while (message := await self._call.read()) is not grpc.aio.EOF:
            ack = ingest_pb2.AppendResponse.FromString(message).ack
            now = time.perf_counter()
            for _ in range(ack.committed_number - self.acknowledged):
                self.latencies_s.append(now - self._sent_at.popleft())
            self.acknowledged = ack.committed_number
            self.refused += sum(refusal.point_count for refusal in ack.refusals)
            self._room.set()


# Of each producer in one message: 8,000 points of eight ranks with batches of 250.
_BATCHES_PER_MESSAGE = 4


class _Agent:
    """One stream of several producers. Each message has the next batches of all of them."""

    def __init__(self, channel: grpc.aio.Channel, load: Load, first_rank: int, metadata: Metadata = ()) -> None:
        self._channel = channel
        self._metadata = metadata
        self._call: Any = None
        self._load = load
        self._first_rank = first_rank
        self._sent_at: deque[float] = deque()
        self._room = asyncio.Event()
        self._sent = 0
        self.acknowledged_of_each = [0] * load.producers
        self.refused = 0
        self.latencies_s: list[float] = []

    async def open(self, run_id: str) -> None:
        self._call = append(self._channel, self._metadata)
        for index in range(self._load.producers):
            await self._call.write(_open(run_id, self._first_rank + index, index))
        for _ in range(self._load.producers):
            opened = ingest_pb2.AppendResponse.FromString(await self._call.read()).opened
            await self._call.write(_declare(self._load.keys, opened.producer_index))

    async def push(self, until: float) -> None:
        reader = asyncio.create_task(self._read_acks())
        load = self._load
        while not self._sent or (self._sent < load.batches and time.perf_counter() < until):
            while self._sent + _BATCHES_PER_MESSAGE - min(self.acknowledged_of_each) > load.window:
                self._room.clear()
                await self._room.wait()
            self._sent_at.append(time.perf_counter())
            message = batch_set_message(load.producers, load.batch_points, load.keys, self._sent)
            await self._call.write(message + _stamp())
            self._sent += _BATCHES_PER_MESSAGE
        await self._call.done_writing()
        await reader

    async def _read_acks(self) -> None:
        acknowledged = self.acknowledged_of_each
        while (message := await self._call.read()) is not grpc.aio.EOF:
            before = min(acknowledged)
            for ack in ingest_pb2.AppendResponse.FromString(message).acks.acks:
                acknowledged[ack.producer_index] = ack.committed_number
                self.refused += sum(refusal.point_count for refusal in ack.refusals)
            now = time.perf_counter()
            for _ in range(min(acknowledged) // _BATCHES_PER_MESSAGE - before // _BATCHES_PER_MESSAGE):
                self.latencies_s.append(now - self._sent_at.popleft())
            self._room.set()


def _open(run_id: str, rank: int, index: int | None = None) -> bytes:
    opening = ingest_pb2.Open(
        run_id=run_id,
        producer_id=uuid.uuid4().bytes,
        rank=rank,
        first_unacked=1,
        producer_index=index or 0,
        multiplexed=index is not None,
    )
    return ingest_pb2.AppendRequest(open=opening).SerializeToString()


def _declare(keys: int, index: int = 0) -> bytes:
    series = [ingest_pb2.SeriesDeclaration(series_index=key, key=f"metric/{key}") for key in range(keys)]
    return ingest_pb2.AppendRequest(declare=ingest_pb2.Declare(series=series, producer_index=index)).SerializeToString()


def append(channel: grpc.aio.Channel, metadata: Metadata = ()) -> Any:
    """An Append call that takes and gives bytes."""
    return channel.stream_stream(_APPEND)(metadata=metadata)


@functools.lru_cache(maxsize=256)
def batch_message(points: int, keys: int, position: int) -> bytes:
    """Batch number `position` + 1 of a stream. The same for every stream, so made once: what is measured is the
    service, not numpy in the client."""
    batch = packed_pb2.PackedBatch(number=position + 1, point_count=points, **_columns(points, keys, position))
    return packed_pb2.PackedAppendRequest(batch=batch).SerializeToString()


@functools.lru_cache(maxsize=32)
def batch_set_message(producers: int, points: int, keys: int, position: int) -> bytes:
    """The batches from `position` + 1 on of each producer of a stream, made once, too."""
    batches = _BATCHES_PER_MESSAGE * producers
    numbers = range(position, position + _BATCHES_PER_MESSAGE)
    columns = [_columns(points, keys, number) for number in numbers]
    batch_set = packed_pb2.PackedBatchSet(
        producer_index=np.repeat(np.arange(producers, dtype="<u4"), _BATCHES_PER_MESSAGE).tobytes(),
        number=(np.array([*numbers] * producers, "<u8") + 1).astype("<u8").tobytes(),
        point_count=np.full(batches, points, "<u4").tobytes(),
        oldest_age_us=np.full(batches, 500_000, "<u8").tobytes(),
        **{name: b"".join([one[name] for one in columns]) * producers for name in columns[0]},
    )
    return packed_pb2.PackedAppendRequest(batches=batch_set).SerializeToString()


def _columns(points: int, keys: int, position: int) -> dict[str, Any]:
    """`keys` series, one after the other in each step; ten steps a second by a clock that is read in microseconds;
    values as a float32 model logs them."""
    row = np.arange(position * points, (position + 1) * points, dtype="<i8")
    step = row // keys
    return {
        "series_index": (row % keys).astype("<u4").tobytes(),
        "step": step.tobytes(),
        "time_unix_us": (1_790_000_000_000_000 + step * 100_000 + (step * 7_919 + row) % 2_003).tobytes(),
        "value": np.sin(row * 0.001).astype("<f4").astype("<f8").tobytes(),
    }


def _stamp() -> bytes:
    """The fields that runstream's client adds to each message."""
    sent_us = round(time.monotonic() * 1e6)
    return packed_pb2.PackedAppendRequest(oldest_age_us=500_000, sent_us=sent_us).SerializeToString()


def _channel(address: str, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    """A channel with a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    if credentials is None:
        return grpc.aio.insecure_channel(address, options=options)
    return grpc.aio.secure_channel(address, credentials, options=options)


async def push(
    address: str,
    load: Load,
    seconds: float = 86_400.0,
    when_open: Callable[[], Awaitable[None]] | None = None,
    metadata: Metadata = (),
    credentials: grpc.ChannelCredentials | None = None,
) -> Outcome:
    """Run `load` against the service for `seconds` or until its batches are sent, then wait for the last ack. What
    `when_open` does comes between, when all streams are open. The metadata say who calls;
    `credentials` are for a service with TLS."""
    run_id = uuid.uuid4().hex
    with all_wakeups_read():  # without it, the load would sometimes stall, as the service did
        channels = [_channel(address, credentials) for _ in range(load.connections)]
    try:
        await run_pb2_grpc.RunServiceStub(channels[0]).CreateRun(
            run_pb2.CreateRunRequest(run_id=run_id, experiment="bench", name=load.name), metadata=metadata
        )
        kind = _Stream if load.producers == 1 else _Agent
        streams: list[_Client] = [
            kind(channels[number % len(channels)], load, number * load.producers, metadata)
            for number in range(load.streams)
        ]
        await asyncio.gather(*(stream.open(run_id) for stream in streams))
        if when_open is not None:
            await when_open()
        started = time.perf_counter()
        await asyncio.gather(*(stream.push(started + seconds) for stream in streams))
        elapsed = time.perf_counter() - started
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))
    batches = [number for stream in streams for number in stream.acknowledged_of_each]
    return Outcome(
        run_id=run_id,
        seconds=elapsed,
        points_acknowledged=sum(batches) * load.batch_points,
        points_refused=sum(stream.refused for stream in streams),
        batches_acknowledged=batches,
        ack_latencies_s=[latency for stream in streams for latency in stream.latencies_s],
    )
