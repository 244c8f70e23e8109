"""Producers on shared streams do anything that the protocol allows, in any order; each batch is stored once."""

from __future__ import annotations

import random
from uuid import UUID, uuid4

import grpc
import pytest

from runstream.v1 import ingest_pb2
from tests.integration.ingest.agents import Agent
from tests.integration.ingest.agents import agent as agent
from tests.integration.ingest.agents import channel as channel


class _Source:
    """A producer and its batches: number n has the one value 100 x rank + n."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.producer = uuid4()
        self.index: int | None = None  # on the stream of now
        self.sent = 0
        self.acknowledged = 0

    def values(self, upto: int) -> list[float]:
        return [float(100 * self.rank + number) for number in range(1, upto + 1)]


class _Walk:
    """The operations of a client on its producers, in any order."""

    def __init__(self, seed: int, channel: grpc.aio.Channel, run_id: UUID) -> None:
        self.random = random.Random(seed)
        self.sources = [_Source(rank) for rank in range(5)]
        self._channel = channel
        self._run_id = run_id
        self._agent = Agent(channel)
        self._next_index = 0

    async def open(self, source: _Source) -> None:
        """Open it, or again under a new index, which fences the older one; then everything else is sent again."""
        index = source.index = self._next_index
        self._next_index += 1
        await self._agent.ready(index, self._run_id, source.producer, rank=source.rank)
        source.sent = source.acknowledged = self._agent.opened[index].committed_number

    async def send(self) -> None:
        """Some batches of some producers in one message."""
        batches: list[tuple[int, int, list[float]]] = []
        for source in self.random.sample(self.sources, self.random.randint(1, 5)):
            if source.index is None or source.index in self._agent.ended:
                await self.open(source)
            assert source.index is not None
            for _ in range(self.random.randint(0, 3)):
                source.sent += 1
                batches.append((source.index, source.sent, [float(100 * source.rank + source.sent)]))
        await self._agent.batches(*batches)

    async def reopen(self) -> None:
        await self.open(self.random.choice(self.sources))

    async def skip_a_number(self) -> None:
        """Leave a number out, which ends the producer."""
        source = self.random.choice(self.sources)
        if source.index is not None:
            await self._agent.batches((source.index, source.sent + 2, [-1.0]))
            source.index = None

    async def close(self) -> None:
        source = self.random.choice(self.sources)
        if source.index is not None:
            await self._agent.send(close=ingest_pb2.Close(producer_index=source.index))
            source.index = None

    async def break_off(self) -> None:
        """The network ends the stream in the middle."""
        self._agent.call.cancel()
        self._agent, self._next_index = Agent(self._channel), 0
        for source in self.sources:
            source.index = None

    async def finish(self) -> None:
        """Send everything again, and wait for all acks."""
        highest = {source.rank: source.sent for source in self.sources}
        await self.break_off()
        for source in self.sources:
            await self.open(source)
            assert source.index is not None
            rest = range(source.sent + 1, highest[source.rank] + 1)
            await self._agent.batches(*((source.index, n, [float(100 * source.rank + n)]) for n in rest))
            source.sent = max(source.sent, highest[source.rank])
        await self._agent.acks(**{f"p{source.index}": source.sent for source in self.sources})
        await self._agent.call.done_writing()
        assert await self._agent.call.code() is grpc.StatusCode.OK


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_a_client_does_to_its_producers_each_batch_is_stored_once(channel, run_id, stored, seed):
    walk = _Walk(seed, channel, run_id)
    steps = [walk.send] * 6 + [walk.reopen, walk.skip_a_number, walk.close, walk.break_off]
    for _ in range(40):
        await walk.random.choice(steps)()
    await walk.finish()
    assert sorted(value for _, value in await stored()) == sorted(
        value for source in walk.sources for value in source.values(source.sent)
    )
