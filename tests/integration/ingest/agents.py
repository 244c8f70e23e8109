"""An agent that tests control step by step: a client with many producers on one Append stream."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from uuid import UUID, uuid4

import grpc
import pytest

from runstream.v1 import ingest_pb2, ingest_pb2_grpc, status_pb2
from tests.integration.ingest.conftest import TIME, Replica
from tests.integration.ingest.test_append import serving


class Agent:
    """The client's side of one stream of many producers. It reads all the time."""

    def __init__(self, channel: grpc.aio.Channel, *, reads: bool = True) -> None:
        self.call = ingest_pb2_grpc.IngestServiceStub(channel).Append()
        self.opened: dict[int, ingest_pb2.Opened] = {}
        self.acknowledged: dict[int, int] = {}
        self.refused: dict[int, int] = {}
        self.ended: dict[int, status_pb2.RpcStatus] = {}
        self.is_over = False
        self._changed = asyncio.Condition()
        self._reading = asyncio.create_task(self._read()) if reads else None

    async def _read(self) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
            while (response := await self.call.read()) is not grpc.aio.EOF:
                async with self._changed:
                    self._take(response)
                    self._changed.notify_all()
        async with self._changed:
            self.is_over = True
            self._changed.notify_all()

    def _take(self, response: ingest_pb2.AppendResponse) -> None:
        kind = response.WhichOneof("message")
        if kind == "opened":
            assert response.opened.producer_index not in self.opened
            self.opened[response.opened.producer_index] = response.opened
        elif kind == "acks":
            for ack in response.acks.acks:
                assert ack.producer_index not in self.ended, "ProducerEnded is the last message about a producer"
                assert ack.committed_number >= self.acknowledged.get(ack.producer_index, 0)
                self.acknowledged[ack.producer_index] = ack.committed_number
                for refusal in ack.refusals:
                    self.refused[ack.producer_index] = self.refused.get(ack.producer_index, 0) + refusal.point_count
        else:
            assert kind == "ended", f"{kind} is not for streams of many producers"
            self.ended[response.ended.producer_index] = response.ended.status

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition on what was received holds."""
        async with self._changed:
            await asyncio.wait_for(self._changed.wait_for(lambda: condition() or self.is_over), 30)
        assert condition(), f"the stream is over: {await self.call.details()}"

    async def send(self, **message) -> None:
        await self.call.write(ingest_pb2.AppendRequest(**message))

    async def open(
        self, index: int, run_id: UUID, producer: UUID | None = None, *, rank: int = 0, first_unacked: int = 1
    ) -> UUID:
        """Send Open, and do not wait for the answer."""
        producer = producer or uuid4()
        await self.send(
            open=ingest_pb2.Open(
                run_id=run_id.hex,
                producer_id=producer.bytes,
                rank=rank,
                first_unacked=first_unacked,
                producer_index=index,
                multiplexed=True,
            )
        )
        return producer

    async def declare(self, index: int, *keys: str) -> None:
        series = [ingest_pb2.SeriesDeclaration(series_index=at, key=key) for at, key in enumerate(keys)]
        await self.send(declare=ingest_pb2.Declare(series=series, producer_index=index))

    async def ready(self, index: int, run_id: UUID, producer: UUID | None = None, *, rank: int = 0) -> UUID:
        """Open a producer, and declare its series 0."""
        producer = await self.open(index, run_id, producer, rank=rank)
        await self.until(lambda: index in self.opened)
        await self.declare(index, "loss")
        return producer

    async def batches(self, *batches: tuple[int, int, list[float]]) -> None:
        """Send (producer, number, values) in one message."""
        await self.send(batches=batch_set(*batches))

    async def acks(self, **numbers: int) -> None:
        """Wait for these acknowledgements: p0=3 is number 3 of producer 0."""
        wanted = {int(name[1:]): number for name, number in numbers.items()}
        await self.until(lambda: all(self.committed(index) >= number for index, number in wanted.items()))

    def committed(self, index: int) -> int:
        """The number up to which the client knows batches to be committed, from Opened or a later Ack."""
        return max(self.opened[index].committed_number, self.acknowledged.get(index, 0))

    async def reason(self, index: int) -> str:
        """Why a producer has ended."""
        await self.until(lambda: index in self.ended)
        info = status_pb2.ErrorInfo.FromString(self.ended[index].details[0].value)
        return info.reason


def batch_set(*batches: tuple[int, int, list[float]]) -> ingest_pb2.BatchSet:
    """(producer, number, values); steps tell where a point came from: 1000 x number + position."""
    counts = [len(values) for _, _, values in batches]
    return ingest_pb2.BatchSet(
        producer_index=[producer for producer, _, _ in batches],
        number=[number for _, number, _ in batches],
        point_count=counts,
        series_index=[0] * sum(counts),
        step=[1000 * number + position for _, number, values in batches for position in range(len(values))],
        time_unix_us=[TIME] * sum(counts),
        value=[value for _, _, values in batches for value in values],
    )


@contextlib.asynccontextmanager
async def connected(replica: Replica, **timeouts: float) -> AsyncIterator[grpc.aio.Channel]:
    async with serving(replica, None, **timeouts) as address, grpc.aio.insecure_channel(address) as channel:
        yield channel


@pytest.fixture
async def channel(replica: Replica) -> AsyncIterator[grpc.aio.Channel]:
    async with connected(replica) as opened:
        yield opened


@pytest.fixture
async def agent(channel) -> Agent:
    return Agent(channel)


async def two_of(agent: Agent, run_id: UUID) -> None:
    """Two producers that are ready."""
    for index in (0, 1):
        await agent.ready(index, run_id, rank=index)
