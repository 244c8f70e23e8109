"""The reference service of the client's unit tests (tests/unit/client/ledger.py) keeps the same contract as the real
service: the same conversation gets the same answers from both, and stores the same points.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest

from runstream.v1 import ingest_pb2, run_pb2, run_pb2_grpc
from runstream_service.database.pool import Database
from tests.integration.ingest import test_append as misuse
from tests.integration.ingest.agents import Agent, batch_set
from tests.integration.ingest.conftest import TIME, Replica
from tests.integration.ingest.test_append import Producer, serving
from tests.support.rpc import reason_of, serve_on
from tests.unit.client.ledger import Refused
from tests.unit.client.reference_service import ReferenceService

Transcript = list[object]
ENTRIES = {f"key{number}": "value" for number in range(1_001)}  # one more than a call may have


@dataclass
class Side:
    """One of the two services."""

    channel: grpc.aio.Channel
    runs_channel: grpc.aio.Channel
    run_id: UUID
    delete_run: Callable[[], Awaitable[None]]
    restore: Callable[[], Awaitable[None]]  # the database, to a state without any point
    stored: Callable[[], Awaitable[list[float]]]
    drain: Callable[[], None]
    transcript: Transcript

    def producer(self, producer: UUID | None = None) -> Producer:
        """A stream of one producer."""
        return Producer(self.channel, self.run_id, producer)

    def agent(self) -> Agent:
        """A stream of many producers."""
        return Agent(self.channel)

    def note(self, *facts: object) -> None:
        """Add an entry to the transcript."""
        self.transcript.append(facts)


def refuse_as_draining(event: str, number: int) -> None:
    """Let the service drain, as the client's tests do with the reference service."""
    raise Refused(grpc.StatusCode.UNAVAILABLE, "DRAINING")


@pytest.fixture
def reference_service() -> Iterator[ReferenceService]:
    service = ReferenceService()
    yield service
    service.stop()


@pytest.fixture
async def reference(reference_service: ReferenceService) -> AsyncIterator[Side]:
    ledger, run_id = reference_service.ledger, uuid4()
    run = ledger.runs[run_id.hex] = run_pb2.Run(run_id=run_id.hex, lifecycle=run_pb2.LIFECYCLE_ACTIVE)

    async def delete_run() -> None:
        run.lifecycle = run_pb2.LIFECYCLE_DELETED

    async def restore() -> None:
        ledger.restore()

    def drain() -> None:
        ledger.fault = refuse_as_draining

    async def stored() -> list[float]:
        return sorted(point[3] for point in ledger.points)

    async with grpc.aio.insecure_channel(reference_service.address) as channel:
        yield Side(channel, channel, run_id, delete_run, restore, stored, drain, [])


@pytest.fixture
async def real(database: Database, replica: Replica, run_id: UUID) -> AsyncIterator[Side]:
    async def delete_run() -> None:
        await database.execute("UPDATE runs SET lifecycle = 'deleted' WHERE run_id = $1", run_id)

    async def restore() -> None:
        await database.execute("UPDATE producers SET committed_number = 0")
        await database.execute("DELETE FROM hot_batches")

    async def stored() -> list[float]:
        return sorted(row["value"] for row in await database.fetch("SELECT value FROM metric_points_hot"))

    async with (
        serving(replica) as address,
        serve_on(database) as services,
        grpc.aio.insecure_channel(address) as channel,
    ):
        yield Side(channel, services.channel, run_id, delete_run, restore, stored, replica.pipeline.drain, [])


# Streams of one producer.


async def in_order(side: Side) -> None:
    producer = side.producer()
    side.note(await producer.open())
    await producer.declare("loss", "accuracy")
    await producer.batch(1, [1.0, 2.0])
    side.note(refusals(await producer.ack(1)))
    await producer.batch(2, [3.0], index=1)
    await producer.call.done_writing()
    side.note(refusals(await producer.ack(2)), await producer.end())


async def a_stream_that_broke(side: Side) -> None:
    first = side.producer()
    await first.open()
    await first.declare("loss")
    for number in (1, 2):
        await first.batch(number, [float(number)])
    await first.ack(2)
    first.call.cancel()
    again = side.producer(first.producer)
    side.note(await again.open(first_unacked=2))
    await again.declare("loss")
    for number in (2, 3):
        await again.batch(number, [float(number)])
    side.note(refusals(await again.ack(3)))


async def refused_points(side: Side) -> None:
    producer = side.producer()
    await producer.open()
    await producer.declare("loss", "k" * 251, "bad\nkey", "")
    await producer.batch(
        1, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], series_index=[0, 1, 2, 3, 1, 0], time_unix_us=[TIME] * 5 + [2**62]
    )
    side.note(refusals(await producer.ack(1)))


async def nothing_but_refused_points(side: Side) -> None:
    producer = side.producer()
    await producer.open()
    await producer.declare("")
    await producer.batch(1, [1.0])
    side.note(refusals(await producer.ack(1)))
    again = side.producer(producer.producer)
    side.note(await again.open(first_unacked=2))


async def a_gap_and_what_follows(side: Side) -> None:
    producer = side.producer()
    await producer.open()
    await producer.declare("loss")
    await producer.batch(1, [1.0])
    await producer.ack(1)
    await producer.batch(3, [3.0])
    side.note(await producer.end())
    again = side.producer(producer.producer)
    side.note(await again.open(first_unacked=2))


async def two_connections_of_a_producer(side: Side) -> None:
    old = side.producer()
    await old.open()
    new = side.producer(old.producer)
    side.note(await new.open())
    side.note(await old.end())
    await new.declare("loss")
    await new.batch(1, [1.0])
    side.note(refusals(await new.ack(1)))


async def a_deleted_run(side: Side) -> None:
    await side.delete_run()
    await refused_open(side, side.producer())


async def a_restored_database(side: Side) -> None:
    first = side.producer()
    await first.open()
    await first.declare("loss")
    for number in (1, 2, 3):
        await first.batch(number, [float(number)])
    await first.ack(3)
    first.call.cancel()
    await side.restore()
    await refused_open(side, side.producer(first.producer), first_unacked=4)
    asking = side.producer(first.producer)
    side.note(await asking.open())  # the answer says which batches are stored, though this Open claims none


async def a_drained_replica(side: Side) -> None:
    side.drain()
    await refused_open(side, side.producer())


async def refused_open(side: Side, producer: Producer, first_unacked: int = 1) -> None:
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        await producer.open(first_unacked)
    side.note(await producer.end())


# Streams of many.


async def producers_of_one_stream(side: Side) -> None:
    agent = side.agent()
    for index in range(4):
        await agent.ready(index, side.run_id, rank=index)
        side.note(agent.opened[index])
    await agent.batches(*((index, number, [float(index)] * 2) for index in range(4) for number in (1, 2)))
    await agent.acks(p0=2, p1=2, p2=2, p3=2)
    await agent.call.done_writing()
    side.note(await agent.call.code(), agent.acknowledged, agent.ended)


async def one_that_is_opened_elsewhere(side: Side) -> None:
    agent, other = side.agent(), side.agent()
    producer = await agent.ready(0, side.run_id)
    await agent.ready(1, side.run_id, rank=1)
    await other.ready(0, side.run_id, producer)
    await ended_alone(side, agent)
    await other.batches((0, 1, [7.0]))
    await other.acks(p0=1)


async def one_with_a_gap(side: Side) -> None:
    agent = await two_of(side)
    await agent.batches((0, 2, [1.0]))
    await ended_alone(side, agent)


async def one_with_an_undeclared_series(side: Side) -> None:
    agent = await two_of(side)
    batches = batch_set((0, 1, [1.0]))
    batches.series_index[0] = 7
    await agent.send(batches=batches)
    await ended_alone(side, agent)


async def one_with_two_keys_for_a_series(side: Side) -> None:
    agent = await two_of(side)
    await agent.declare(0, "accuracy")
    await ended_alone(side, agent)


async def an_unknown_run(side: Side) -> None:
    await failed_open(side, uuid4())


async def a_producer_without_an_id(side: Side) -> None:
    await failed_open(side, side.run_id, UUID(int=0))


async def a_ledger_that_is_behind(side: Side) -> None:
    await failed_open(side, side.run_id, first_unacked=9)


async def a_producer_that_is_opened_again(side: Side) -> None:
    agent = side.agent()
    producer = await agent.ready(0, side.run_id)
    await agent.batches((0, 1, [1.0]))
    await agent.acks(p0=1)
    await agent.batches((0, 3, [3.0]))
    side.note(await ending(agent, 0))
    await agent.ready(1, side.run_id, producer)
    side.note(agent.opened[1])
    await agent.batches((1, 1, [1.0]), (1, 2, [2.0]))
    await agent.acks(p1=2)


async def a_producer_that_is_closed(side: Side) -> None:
    agent = await two_of(side)
    await agent.batches((0, 1, [1.0]))
    await agent.acks(p0=1)
    await agent.send(close=ingest_pb2.Close(producer_index=0))
    await agent.batches((1, 1, [2.0]))
    await agent.acks(p1=1)
    side.note(agent.acknowledged, agent.ended)


async def an_index_that_was_used(side: Side) -> None:
    agent = await two_of(side)
    await agent.open(1, side.run_id, rank=5)
    await end_of(side, agent)


async def a_producer_that_was_not_opened(side: Side) -> None:
    agent = await two_of(side)
    await agent.batches((5, 1, [1.0]))
    await end_of(side, agent)


async def a_drained_replica_with_many(side: Side) -> None:
    side.drain()
    agent = side.agent()
    with contextlib.suppress(grpc.aio.AioRpcError):  # the stream may end before anything is sent
        await agent.open(0, side.run_id)
    await end_of(side, agent)


async def two_of(side: Side) -> Agent:
    agent = side.agent()
    for index in (0, 1):
        await agent.ready(index, side.run_id, rank=index)
    return agent


async def failed_open(side: Side, run_id: UUID, producer: UUID | None = None, first_unacked: int = 1) -> None:
    """The very first producer of a stream, which goes on."""
    agent = side.agent()
    await agent.open(0, run_id, producer, first_unacked=first_unacked)
    side.note(await ending(agent, 0))
    await agent.ready(1, side.run_id)
    await agent.batches((1, 1, [1.0]))
    await agent.acks(p1=1)


async def ended_alone(side: Side, agent: Agent) -> None:
    side.note(await ending(agent, 0))
    await agent.batches((0, 1, [5.0]), (1, 1, [2.0]))  # what is sent for it before the client knows is ignored
    await agent.acks(p1=1)
    side.note(agent.acknowledged)


async def end_of(side: Side, agent: Agent) -> None:
    await agent.until(lambda: agent.is_over)
    side.note(await agent.call.code(), sorted(agent.ended))


async def ending(agent: Agent, index: int) -> tuple[int, str, str, bool]:
    """Code, reason and field with which a producer ended, and whether the service says when to try again."""
    reason = await agent.reason(index)
    status = agent.ended[index]
    field = ingest_field(status.details[0].value)
    return status.code, reason, field, any(one.type_url.endswith("RetryInfo") for one in status.details)


def ingest_field(error_info: bytes) -> str:
    from runstream.v1 import status_pb2

    return status_pb2.ErrorInfo.FromString(error_info).metadata.get("field", "")


def refusals(listed: list[ingest_pb2.Refusal]) -> dict[str, int]:
    """The counts of refusals, by reason."""
    return {ingest_pb2.RefusalReason.Name(one.reason): one.point_count for one in listed}


def misused(misbehave: Callable[[Producer], Awaitable[None]]) -> Callable[[Side], Awaitable[None]]:
    """A client that breaks a rule."""

    async def conversation(side: Side) -> None:
        producer = side.producer()
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await misbehave(producer)
        side.note(await producer.end())

    conversation.__name__ = misbehave.__name__
    return conversation


MISUSES = [misused(misbehave) for _, misbehave in vars(misuse).items() if getattr(misbehave, "__name__", "")[:1] == "_"
           and asyncio.iscoroutinefunction(misbehave) and misbehave is not misuse._received]  # fmt: skip


@pytest.mark.parametrize(
    "conversation",
    [
        in_order,
        a_stream_that_broke,
        refused_points,
        nothing_but_refused_points,
        a_gap_and_what_follows,
        two_connections_of_a_producer,
        a_deleted_run,
        a_restored_database,
        a_drained_replica,
        producers_of_one_stream,
        one_that_is_opened_elsewhere,
        one_with_a_gap,
        one_with_an_undeclared_series,
        one_with_two_keys_for_a_series,
        an_unknown_run,
        a_producer_without_an_id,
        a_ledger_that_is_behind,
        a_producer_that_is_opened_again,
        a_producer_that_is_closed,
        an_index_that_was_used,
        a_producer_that_was_not_opened,
        a_drained_replica_with_many,
        *MISUSES,
    ],
    ids=lambda conversation: conversation.__name__.strip("_"),
)
async def test_a_conversation_gets_the_same_answers(
    conversation: Callable[[Side], Awaitable[None]], reference: Side, real: Side
) -> None:
    for side in (reference, real):
        async with asyncio.timeout(60):
            await conversation(side)
        side.note("stored", await side.stored())
    assert len(real.transcript) > 1
    assert reference.transcript == real.transcript


# Unary calls.


@pytest.mark.parametrize(
    ("method", "request_of"),
    [
        ("GetRun", lambda: run_pb2.GetRunRequest(run_id=uuid4().hex)),
        ("GetRun", lambda: run_pb2.GetRunRequest(run_id="../etc")),
        ("LogParams", lambda: run_pb2.LogParamsRequest(run_id=uuid4().hex, params={"a": "1"})),
        ("SetTags", lambda: run_pb2.SetTagsRequest(run_id=uuid4().hex, tags={"a": "1"})),
        ("FinishRun", lambda: run_pb2.FinishRunRequest(run_id=uuid4().hex, status=run_pb2.RUN_STATUS_FINISHED)),
        ("LogParams", lambda: run_pb2.LogParamsRequest(run_id=KNOWN, params=ENTRIES)),
        ("SetTags", lambda: run_pb2.SetTagsRequest(run_id=KNOWN, tags=ENTRIES)),
        ("LogParams", lambda: run_pb2.LogParamsRequest(run_id=KNOWN, params={"lr": "0.2"})),
        ("LogParams", lambda: run_pb2.LogParamsRequest(run_id=KNOWN, params={"lr": "0.1"})),
        ("SetTags", lambda: run_pb2.SetTagsRequest(run_id=KNOWN, tags={"lr": "0.2"})),
        ("FinishRun", lambda: run_pb2.FinishRunRequest(run_id=KNOWN, status=run_pb2.RUN_STATUS_FAILED)),
    ],
)
@pytest.mark.parametrize("deleted", [False, True])
async def test_a_call_has_the_same_outcome(
    method: str, request_of: Callable[[], Any], deleted: bool, reference: Side, real: Side
) -> None:
    outcomes: list[object] = []
    for side in (reference, real):
        runs = run_pb2_grpc.RunServiceStub(side.runs_channel)
        await runs.LogParams(run_pb2.LogParamsRequest(run_id=side.run_id.hex, params={"lr": "0.1"}))
        if deleted:
            await side.delete_run()
        request = request_of()
        if request.run_id == KNOWN:
            request.run_id = side.run_id.hex
        try:
            response = await getattr(runs, method)(request)
            outcomes.append(type(response).__name__)
        except grpc.aio.AioRpcError as error:
            outcomes.append(reason_of(error))
    assert outcomes[0] == outcomes[1]


KNOWN = "the run of the side"
