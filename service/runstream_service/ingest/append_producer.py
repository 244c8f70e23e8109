"""A producer as the Append call that carries it sees it: open or not yet, and what was read of it and waits.

What cannot be handed on yet is kept, in order: its Open and its Declares that PostgreSQL has not answered, what came
behind such a Declare, and batches for which there is no room in the queue. All of that counts as read ahead.
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
    """A producer is open."""

    producer_index: int
    committed_number: int


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Batches of a producer are committed."""

    producer_index: int
    committed_number: int
    refusals: list[Refusal]


@dataclass(frozen=True, slots=True)
class Ended:
    """A producer has failed."""

    producer_index: int
    error: CoreError


Update: TypeAlias = Opened | Acknowledged | Ended


class AppendProducer:
    """One producer of a stream. In the queue for room, it stands for its first batch that waits."""

    def __init__(self, stream: AppendStream, index: int) -> None:
        self.index = index
        self.opened: Producer | None = None  # once it is open
        self.error: CoreError | None = None
        self.closing = False
        self.stream = stream
        self._open_is_told = False
        # Its Open, or a Declare, and what that counts as read ahead.
        self._asking_database: asyncio.Task[None] | None = None
        self._asking_holds = 0
        # What came behind a Declare that is under way.
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
        return self._asking_database is None and (self.opened is None or self.opened.nothing_in_flight)

    def start(self, ask: Callable[[], Coroutine[None, None, None]], holds: int = 0) -> None:
        """Ask the database; `holds` is given back at the end."""
        self._asking_holds = holds
        self._asking_database = asyncio.create_task(self._ask(ask))

    async def _ask(self, ask: Callable[[], Coroutine[None, None, None]]) -> None:
        error: CoreError | None = None
        try:
            await ask()
        except CoreError as reason:
            error = reason
        except Exception as bug:
            self.stream.fail(bug)
        self._asking_database = None
        self.stream.let_go(self._asking_holds)
        if error is not None:
            self.fail(error)
        try:
            self._go_on()
        except CoreError as overloaded:
            self.stream.fail(overloaded)
        self.changed()

    def take_batch(self, batch: Batch, *, times_are_usual: bool) -> PendingBatch | None:
        """Check the batch and hand it on, or let it wait. Returns it, if it was handed on. Raises Overloaded."""
        if self._asking_database is None:
            return self._receive(batch, times_are_usual=times_are_usual)
        self.stream.hold(_size_of(batch))
        batch.detach()
        self._received.append(batch)
        return None

    def take_declare(self, declare: EncodedDeclare) -> None:
        """Declare series, after what was received before. Raises Overloaded."""
        self.stream.hold(_size_of(declare))
        if self._asking_database is None:
            self._declare(declare)
        else:
            self._received.append(declare)

    def _declare(self, declare: EncodedDeclare) -> None:
        assert self.opened is not None
        self.start(functools.partial(self.stream.declare, self.opened, declare), _size_of(declare))

    def _go_on(self) -> None:
        """Take what came behind the Declare that has ended."""
        while self._received and self._asking_database is None:
            item = self._received.popleft()
            if isinstance(item, EncodedDeclare):
                self._declare(item)
            else:
                self.stream.let_go(_size_of(item))
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
        """The room that its first waiting batch takes in the queue."""
        return self._waiting[0].charge

    def admitted(self) -> bool:
        """There is room for its first waiting batch."""
        pending = self._waiting.popleft()
        self.stream.let_go(pending.charge)
        self.stream.submit(pending)
        return bool(self._waiting)

    def changed(self) -> None:
        """There may be something to tell the client."""
        if self.error is None and self.opened is not None and self.opened.error is not None:
            self.fail(self.opened.error)
        else:
            self.stream.mark_changed(self)

    def fail(self, error: CoreError) -> None:
        """It ends, and the stream as well, if the error or the kind of stream is such."""
        if self.error is None:
            self.error = error
            self.drop()
            self.stream.producer_failed(self, error)

    def drop(self) -> None:
        """Drop what was read and waits; its client sends it again on another stream, or after another Open."""
        if self._asking_database is not None:
            abandon(self._asking_database)
            self._asking_database = None
            self.stream.let_go(self._asking_holds)
        held = sum(_size_of(item) for item in self._received)
        self._received.clear()
        if self._waiting:
            self.stream.dequeue(self)
        while self._waiting:
            pending = self._waiting.popleft()
            held += pending.charge
            pending.abandon()
        if held:
            self.stream.let_go(held)

    def take_updates(self) -> list[Update]:
        """What to tell the client of it, while it is well."""
        updates: list[Update] = []
        if self.opened is not None:
            if not self._open_is_told:
                self._open_is_told = True
                updates.append(Opened(self.index, self.opened.committed_number))
            if (ack := self.opened.take_ack()) is not None:
                updates.append(Acknowledged(self.index, *ack))
        return updates


def _size_of(item: Batch | EncodedDeclare) -> int:
    """What it counts while it waits, in points: about its size in memory."""
    if isinstance(item, Batch):
        return max(len(item.value), MIN_CHARGE_POINTS)
    return MIN_CHARGE_POINTS + len(item.message) // BYTES_PER_HELD_POINT
