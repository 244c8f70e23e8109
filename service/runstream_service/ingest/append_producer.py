"""One producer of an Append call: whether it is open, and which of its messages wait.

Messages that cannot be handed on yet are kept here, in order: an Open or Declare that PostgreSQL has not answered, what
came after such a Declare, and batches for which there is no room in the queue. All of that counts as read ahead.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from runstream_service.concurrency.tasks import abandon
from runstream_service.errors.core import CoreError, SequenceGap, UndeclaredSeries
from runstream_service.ingest.decode import Batch, EncodedDeclare
from runstream_service.ingest.limits import BYTES_PER_HELD_POINT
from runstream_service.ingest.producer import MIN_CHARGE_POINTS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from runstream_service.ingest.append_stream import AppendStream
    from runstream_service.ingest.producer import PendingBatch, Producer
    from runstream_service.ingest.refusals import Refusal


@dataclass(frozen=True, slots=True)
class Opened:
    """Update for the client: a producer is open, and the ledger knows its batches up to `committed_number`."""

    producer_index: int
    committed_number: int


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Update for the client: the batches of a producer up to `committed_number` are committed."""

    producer_index: int
    committed_number: int
    refusals: list[Refusal]


@dataclass(frozen=True, slots=True)
class Ended:
    """Update for the client: a producer has failed, while its stream goes on."""

    producer_index: int
    error: CoreError


Update: TypeAlias = Opened | Acknowledged | Ended


class AppendProducer:
    """One producer of a stream. It implements Waiter (backpressure.py) for the first of its batches that wait for room,
    and Listener (producer.py)."""

    def __init__(self, stream: AppendStream, index: int) -> None:
        self.index = index
        self.opened: Producer | None = None  # once it is open
        self.error: CoreError | None = None
        self.closing = False
        self.stream = stream
        self._open_is_reported = False
        # The task of its Open or of a Declare, and how many points that counts as read ahead.
        self._database_call: asyncio.Task[None] | None = None
        self._database_call_points = 0
        # What came after a Declare that is under way.
        self._received: deque[Batch | EncodedDeclare] = deque()
        # Batches that wait for room.
        self._waiting: deque[PendingBatch] = deque()

    @property
    def is_opening(self) -> bool:
        """Whether its Open is not answered yet."""
        return self.opened is None and self.error is None

    @property
    def is_idle(self) -> bool:
        """Whether nothing of it is on its way to the database."""
        return self._database_call is None and (self.opened is None or self.opened.nothing_in_flight)

    def start(self, call: Callable[[], Coroutine[None, None, None]], held_points: int = 0) -> None:
        """Start a call of the database, an Open or a Declare. `held_points` are released when it has ended."""
        self._database_call_points = held_points
        self._database_call = asyncio.create_task(self._run_database_call(call))

    async def _run_database_call(self, call: Callable[[], Coroutine[None, None, None]]) -> None:
        error: CoreError | None = None
        try:
            await call()
        except CoreError as reason:
            error = reason
        except Exception as bug:
            self.stream.fail(bug)
        self._database_call = None
        self.stream.release_held(self._database_call_points)
        if error is not None:
            self.fail(error)
        try:
            self._take_received()
        except CoreError as overloaded:
            self.stream.fail(overloaded)
        self.changed()

    def take_batch(self, batch: Batch, *, times_are_usual: bool) -> PendingBatch | None:
        """Check a batch, then hand it to its writer or let it wait. Returns the batch if it was handed on.
        `times_are_usual`: all times are between 1970 and the year 9999.

        Raises:
            Overloaded: too many points of all streams wait.
            LimitReached: the batch would wait very long for the points per second of its workspace.
        """
        if self._database_call is None:
            return self._receive(batch, times_are_usual=times_are_usual)
        self.stream.hold(_size_of(batch))
        batch.detach()
        self._received.append(batch)
        return None

    def take_declare(self, declare: EncodedDeclare) -> None:
        """Declare series, when what came before is done. Raises Overloaded if too much of all streams waits."""
        self.stream.hold(_size_of(declare))
        if self._database_call is None:
            self._declare(declare)
        else:
            self._received.append(declare)

    def _declare(self, declare: EncodedDeclare) -> None:
        assert self.opened is not None
        self.start(functools.partial(self.stream.declare, self.opened, declare), _size_of(declare))

    def _take_received(self) -> None:
        """Handle what came after the Declare that has ended."""
        while self._received and self._database_call is None:
            item = self._received.popleft()
            if isinstance(item, EncodedDeclare):
                self._declare(item)
            else:
                self.stream.release_held(_size_of(item))
                self._receive(item, times_are_usual=False)

    def _receive(self, batch: Batch, *, times_are_usual: bool) -> PendingBatch | None:
        assert self.opened is not None
        try:
            pending = self.opened.receive(batch, times_are_usual=times_are_usual)
        except (SequenceGap, UndeclaredSeries) as error:
            self.fail(error)
            return None
        if pending is None:
            return None
        if self._waiting or not self.stream.try_submit(pending):
            self._wait_for_room(pending)
            return None
        return pending

    def _wait_for_room(self, pending: PendingBatch) -> None:
        try:
            self.stream.check_rate()
            self.stream.hold(pending.charge)
        except CoreError:
            pending.abandon()
            raise
        pending.detach()
        self._waiting.append(pending)
        if len(self._waiting) == 1:
            self.stream.enqueue(self)

    @property
    def workspace_id(self) -> int:
        """The workspace of its points."""
        return self.stream.workspace_id

    @property
    def wanted_points(self) -> int:
        """The room that its first waiting batch takes in the queue, in points."""
        return self._waiting[0].charge

    def admitted(self) -> bool:
        """Hand on its first waiting batch, for which room was taken. Returns whether more batches wait."""
        pending = self._waiting.popleft()
        self.stream.release_held(pending.charge)
        self.stream.submit(pending)
        return bool(self._waiting)

    def changed(self) -> None:
        """There may be an ack for the client; or the producer has failed."""
        if self.error is None and self.opened is not None and self.opened.error is not None:
            self.fail(self.opened.error)
        else:
            self.stream.mark_changed(self)

    def fail(self, error: CoreError) -> None:
        """End the producer; AppendStream decides whether the error ends the whole stream. The first error counts."""
        if self.error is None:
            self.error = error
            self.drop()
            self.stream.producer_failed(self, error)

    def drop(self) -> None:
        """Drop what was read and still waits. The client sends it again, on another stream or after another Open."""
        if self._database_call is not None:
            abandon(self._database_call)
            self._database_call = None
            self.stream.release_held(self._database_call_points)
        held = sum(_size_of(item) for item in self._received)
        self._received.clear()
        if self._waiting:
            self.stream.dequeue(self)
        while self._waiting:
            pending = self._waiting.popleft()
            held += pending.charge
            pending.abandon()
        if held:
            self.stream.release_held(held)

    def take_updates(self) -> list[Update]:
        """The updates for the client, apart from the producer's end: it is open, batches are committed."""
        updates: list[Update] = []
        if self.opened is not None:
            if not self._open_is_reported:
                self._open_is_reported = True
                updates.append(Opened(self.index, self.opened.committed_number))
            if (ack := self.opened.take_ack()) is not None:
                updates.append(Acknowledged(self.index, *ack))
        return updates


def _size_of(item: Batch | EncodedDeclare) -> int:
    """How many points a waiting message counts as: about its size in memory."""
    if isinstance(item, Batch):
        return max(len(item.value), MIN_CHARGE_POINTS)
    return MIN_CHARGE_POINTS + len(item.message) // BYTES_PER_HELD_POINT
