"""One Append call: its producers, and what is sent back to its client.

Taking a message never waits, so one producer never holds up the others of its stream. What cannot be handed on yet is
kept for each producer (append_producer.py). All of that counts as read ahead, and `has_room` says whether to read on: a
stream of one producer reads nothing ahead, one of many up to READ_AHEAD_POINTS.

Acks and errors are not kept as messages, but collected from the producers when the next message can be written: however
slowly a client reads, a stream holds no more than the state of its producers.
"""

from __future__ import annotations

import asyncio
import functools
import time
from typing import TYPE_CHECKING

from runstream.v1 import ingest_pb2
from runstream_service.errors.core import (
    CoreError,
    DatabaseChanged,
    Draining,
    InvalidField,
    MalformedMessage,
    OpenExpected,
    Overloaded,
)
from runstream_service.ingest.append_producer import AppendProducer, Ended, Update
from runstream_service.ingest.decode import Batches, EncodedDeclare
from runstream_service.ingest.latency import ClientClockOffset, logged_at
from runstream_service.ingest.limits import MAX_PRODUCERS_PER_STREAM, READ_AHEAD_POINTS
from runstream_service.ingest.producer import MIN_CHARGE_POINTS

if TYPE_CHECKING:
    from types import TracebackType

    from runstream_service.core.caller import Caller
    from runstream_service.ingest.decode import Request
    from runstream_service.ingest.pipeline import IngestPipeline
    from runstream_service.ingest.producer import PendingBatch, Producer

# Errors that end the whole stream, whichever of its producers met them.
_ERRORS_OF_THE_STREAM = (DatabaseChanged, Draining, MalformedMessage)


class AppendStream:
    """One Append call, as a context manager. Used by one event loop. Submitted batches are committed even if the stream
    has ended. `multiplexed`: the stream carries many producers, and an error of one does not end the others."""

    def __init__(self, pipeline: IngestPipeline, caller: Caller, *, multiplexed: bool = False) -> None:
        self.multiplexed = multiplexed
        # Set once when all of the stream must end: with a CoreError, or with a bug.
        self.failed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self._pipeline = pipeline
        self._caller = caller
        self._clock = ClientClockOffset()
        # By index. A producer that has ended stays until the message that says so was taken, so these count, too.
        self._producers: dict[int, AppendProducer] = {}
        self._highest_index = -1
        self._held_points = 0
        self._changed: dict[AppendProducer, None] = {}
        self._something_changed = asyncio.Event()
        self._updates_stopped = False
        self._room = asyncio.Event()

    @property
    def workspace_id(self) -> int:
        """The workspace of its caller, and so of all of its producers."""
        return self._caller.workspace_id

    def __enter__(self) -> AppendStream:
        self._pipeline.stream_began(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.drop_waiting()
        for producer in list(self._producers.values()):
            self._forget(producer)
        self._pipeline.stream_ended(self)

    # Reading ---------------------------------------------------------------------------------------------------------

    def try_take_turn(self) -> bool:
        """Take a turn on the event loop for the next message, if one is free now. Returns whether it took one."""
        return not self._pipeline.must_pause(self.workspace_id) and self._pipeline.turns.try_take(self.workspace_id)

    async def wait_for_turn(self) -> None:
        """Wait for a turn to take the next message."""
        if self._pipeline.must_pause(self.workspace_id):
            await self._pipeline.urgent.wait_while_paused()
            if self._pipeline.turns.try_take(self.workspace_id):
                return
        await self._pipeline.turns.wait(self.workspace_id)

    def take(self, request: Request) -> None:
        """Take the next message.

        Raises:
            OpenExpected: the first message is not an Open, or the message names a producer that was not opened.
            InvalidField: the index of a producer is not above those before it.
            Overloaded: too many points and declarations wait on this replica already.
        """
        if isinstance(request, Batches):
            self._take_batches(request)
        elif isinstance(request, ingest_pb2.Open):
            self._take_open(request)
        elif isinstance(request, EncodedDeclare):
            if (producer := self._ready(request.producer_index)) is not None:
                producer.take_declare(request)
        else:
            self._take_close(request.producer_index)

    def _take_open(self, request: ingest_pb2.Open) -> None:
        index = request.producer_index
        if self._highest_index >= 0 and not self.multiplexed:
            raise OpenExpected("open: only the first message of a stream of one producer may be open", field="open")
        if index <= self._highest_index:
            raise InvalidField(
                f"open.producer_index: {index} is not above {self._highest_index}, the highest on this stream so far; "
                "count up",
                field="open.producer_index",
            )
        self._highest_index = index
        producer = self._producers[index] = AppendProducer(self, index)
        if len(self._producers) > MAX_PRODUCERS_PER_STREAM:
            producer.fail(
                Overloaded(
                    f"the stream has {MAX_PRODUCERS_PER_STREAM:,} producers, the most it may; close some of them, or "
                    "open another stream",
                    retry_after_s=1.0,
                )
            )
        else:
            self.hold(MIN_CHARGE_POINTS)
            producer.start(functools.partial(self._open, producer, request), MIN_CHARGE_POINTS)

    async def _open(self, producer: AppendProducer, request: ingest_pb2.Open) -> None:
        producer.opened = await self._pipeline.open(self._caller, request, producer)

    def _take_close(self, index: int) -> None:
        if (producer := self._known(index)) is not None:
            producer.closing = True
            if producer.is_opening:
                producer.drop()
            self.mark_changed(producer)

    def _take_batches(self, request: Batches) -> None:
        received_at = time.monotonic()
        on_the_way_us = self._clock.on_the_way_us(request.sent_us, received_at)
        handed_on, points = [], 0
        for batch in request.batches:
            if (producer := self._ready(batch.producer_index)) is None:
                continue
            batch.received_at = received_at
            if batch.oldest_age_us is not None:
                batch.oldest_logged_at = logged_at(received_at, batch.oldest_age_us, on_the_way_us)
            pending = producer.take_batch(batch, times_are_usual=request.times_are_usual)
            if pending is not None:
                handed_on.append(pending)
                points += pending.points
        self._pipeline.metrics.received.count("grpc", request.points, len(request.batches))
        if 2 * points < request.points:
            # Most of the message is not needed any more, for example because most of it is a repeat.
            for pending in handed_on:
                pending.detach()

    def _known(self, index: int) -> AppendProducer | None:
        """The producer of a message; None if it has ended, which the client may not have read yet. Raises
        OpenExpected."""
        if index > self._highest_index:
            raise OpenExpected(
                f"producer_index: {index} was not opened on this stream; send its open first", field="producer_index"
            )
        return self._producers.get(index)

    def _ready(self, index: int) -> AppendProducer | None:
        """The producer of a message if it is open; None if it has ended. One that is not open fails with
        OpenExpected."""
        producer = self._producers.get(index) or self._known(index)
        if producer is None or producer.error is not None:
            return None
        if producer.opened is None or producer.closing:
            why = "was closed" if producer.closing else "is not open yet; wait for Opened"
            producer.fail(OpenExpected(f"producer_index: producer {index} {why}", field="producer_index"))
            return None
        return producer

    @property
    def has_room(self) -> bool:
        """Whether to read the next message now."""
        if self.multiplexed:
            ahead = READ_AHEAD_POINTS if self._pipeline.may_read_ahead else 0
            return self._held_points <= ahead and len(self._producers) <= MAX_PRODUCERS_PER_STREAM
        return not self._held_points

    async def wait_for_room(self) -> None:
        """Wait until the next message may be read."""
        while not self.has_room:
            self._room.clear()
            await self._room.wait()

    # What the producers need -----------------------------------------------------------------------------------------

    def check_rate(self) -> None:
        """Raises LimitReached if the workspace would have to wait very long for its points per second."""
        self._pipeline.check_rate(self.workspace_id)

    def hold(self, points: int) -> None:
        """Count points that were read and wait. Raises Overloaded if too many of all streams wait."""
        self._pipeline.hold(self.workspace_id, points)
        self._held_points += points

    def release_held(self, points: int) -> None:
        """Points that were counted by `hold` do not wait any more."""
        self._pipeline.release_held(self.workspace_id, points)
        self._held_points -= points
        self._room.set()

    async def declare(self, producer: Producer, encoded: EncodedDeclare) -> None:
        """Assign series to what a producer declares, when it is its turn. Raises what ProducerOpener.declare raises."""
        await self._pipeline.opener.declare_in_turn(producer, encoded)

    def try_submit(self, pending: PendingBatch) -> bool:
        """Hand a batch to its writer if there is room for it now and no other waits. Returns whether it did."""
        if not self._pipeline.budget.try_acquire(self.workspace_id, pending.charge):
            return False
        self._pipeline.submit(pending)
        return True

    def submit(self, pending: PendingBatch) -> None:
        """Hand a batch to its writer; its room in the queue was taken already."""
        self._pipeline.submit(pending)

    def enqueue(self, producer: AppendProducer) -> None:
        """Let a producer wait for room in the queue; `AppendProducer.admitted` is called when it has some."""
        self._pipeline.budget.enqueue(producer)

    def dequeue(self, producer: AppendProducer) -> None:
        """A producer does not wait for room any more."""
        self._pipeline.budget.dequeue(producer)

    # Answering -------------------------------------------------------------------------------------------------------

    def mark_changed(self, producer: AppendProducer) -> None:
        """This producer may have an update for the client: an ack, or its end."""
        self._changed[producer] = None
        self._something_changed.set()

    def producer_failed(self, producer: AppendProducer, error: CoreError) -> None:
        """A producer has failed: it ends alone on a multiplexed stream, unless the error concerns the whole stream."""
        if self._ends_alone(error):
            self.mark_changed(producer)
        else:
            self.fail(error)

    def _ends_alone(self, error: CoreError) -> bool:
        return self.multiplexed and not isinstance(error, _ERRORS_OF_THE_STREAM)

    def fail(self, error: Exception) -> None:
        """End the stream; the first error counts."""
        if not self.failed.done():
            self.failed.set_result(error)

    def wake(self) -> None:
        """Let next_updates check again: its `last` was set."""
        self._something_changed.set()

    def stop_updates(self) -> None:
        """End `next_updates`: the client gets no more messages."""
        self._updates_stopped = True
        self._something_changed.set()

    async def next_updates(self, last: asyncio.Event) -> list[Update] | None:
        """Wait for the next updates for the client. Returns None when `last` is set and nothing is on its way to the
        database any more, or after `stop_updates`."""
        while not self._updates_stopped:
            if updates := self._take_updates():
                return updates
            if last.is_set() and all(producer.is_idle for producer in self._producers.values()):
                return None
            self._something_changed.clear()
            await self._something_changed.wait()
        return None

    def _take_updates(self) -> list[Update]:
        updates: list[Update] = []
        changed, self._changed = self._changed, {}
        for producer in changed:
            updates += producer.take_updates()
            if producer.error is not None and self._ends_alone(producer.error):
                updates.append(Ended(producer.index, producer.error))
                self._pipeline.metrics.producer_ended(producer.error.reason)
                self._forget(producer)
            elif producer.closing and producer.is_idle:
                self._forget(producer)
        return updates

    # Ending ----------------------------------------------------------------------------------------------------------

    def drop_waiting(self) -> None:
        """Drop what was read and still waits. What was submitted is committed all the same."""
        for producer in self._producers.values():
            producer.drop()

    def _forget(self, producer: AppendProducer) -> None:
        if self._producers.pop(producer.index, None) is not None:
            self._room.set()
            if producer.opened is not None:
                producer.opened.forget()
                self._pipeline.close(producer.opened)
