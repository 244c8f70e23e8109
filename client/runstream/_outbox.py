"""Sealed batches, in order, until they are acknowledged; and the producer for which they are numbered."""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterable

from runstream._batches import Batch, Columns, SeriesTable
from runstream._buffer import Buffer, Marker

_HISTORY = 4_096  # keep the sizes of this many acknowledged batches, to count what a restored database lost


class Outbox:
    """Batches that are sealed and not acknowledged. The buffer's account bounds them, as it includes every batch.

    Numbers are contiguous: the first waiting batch has number `acknowledged_number + 1`.
    """

    def __init__(self, buffer: Buffer, series: SeriesTable) -> None:
        self.changed = threading.Condition()  # guards all below; notified at each change
        self._buffer = buffer
        self.series = series
        self._batches: deque[Batch] = deque()
        self._ordinal = 0
        self.producer = uuid.uuid4()
        self.next_number = 1
        self.acknowledged_number = 0
        self.acknowledged_ordinal = 0
        self.highest_sent = 0
        self.batch_points = 1_000
        self.lost_acknowledged = 0
        self._sizes: deque[int] = deque(maxlen=_HISTORY)
        self._producer_points = 0  # acknowledged points of this producer
        self.blocked = False  # the service accepts nothing of this run now; it is asked again from time to time
        self.refusing = ""  # why new batches are refused until `unblock`: run_deleted; empty: they are not
        self.closing = False  # nothing more is sent; batches that were sent may still be acknowledged
        self.stopped = ""  # why everything has ended: closed, no_threads, sender_died; empty: it has not

    def seal(self, columns: Columns, charged_bytes: int) -> None:
        """Adds the columns as the next batch; `charged_bytes` is what the buffer's account holds for them."""
        with self.changed:
            self._ordinal += 1
            batch = columns.seal(self._ordinal, self.next_number)
            if self.stopped or self.refusing:
                self._buffer.settle(batch.points, charged_bytes, _not_sent(self.stopped) or self.refusing)
                if self.refusing:
                    self.acknowledged_ordinal = self._ordinal
                return
            self.next_number += 1
            self._batches.append(batch)
            self._buffer.repack(charged_bytes - batch.size)
            self.changed.notify_all()

    def reach(self, marker: Marker) -> None:
        """The sender has sealed everything before the marker."""
        with self.changed:
            marker.ordinal = self._ordinal
            self.changed.notify_all()

    def wait_settled(self, marker: Marker, timeout_s: float | None) -> bool:
        """Waits until everything before the marker is acknowledged; False if it will not be, or not in time."""
        with self.changed:
            # A batch that is refused here is settled when it is sealed, so that it is counted when flush() returns.
            self.changed.wait_for(
                lambda: self._settled(marker) or self.stopped or (self.blocked and not self.refusing), timeout_s
            )
            return self._settled(marker) and not self.hopeless

    @property
    def hopeless(self) -> bool:
        """Whether there is no point in waiting for acknowledgements, at least for now."""
        return bool(self.blocked or self.stopped)

    def wait_next(self, producer: uuid.UUID, number: int, ended: Callable[[], bool]) -> Batch | None:
        """Waits for the producer's batch of this number; None when `ended`, or when the producer was replaced."""

        def over() -> bool:
            return bool(ended() or self.stopped or self.closing or self.producer != producer)

        with self.changed:
            self.changed.wait_for(lambda: over() or number < self.next_number)
            if over():
                return None
            batch = self._batches[number - self._batches[0].number]
            self.highest_sent = max(self.highest_sent, number)
            return batch

    def acknowledge(self, producer: uuid.UUID, number: int, refusals: Iterable[tuple[str, int]] = ()) -> int:
        """Settles the producer's batches up to the number: they are committed, except for `refusals` (reason, count).
        Returns how many points that were."""
        with self.changed:
            points = 0
            if self.producer != producer:
                return points  # its batches have been renumbered for another producer, or are settled already
            number = min(number, self.highest_sent)  # nobody can have committed what was never sent
            while self._batches and self._batches[0].number <= number:
                batch = self._batches.popleft()
                self._buffer.settle(batch.points, batch.size)
                self._sizes.append(batch.points)
                points += batch.points
                self.acknowledged_number = batch.number
                self.acknowledged_ordinal = batch.ordinal
            self._producer_points += points
            for reason, count in refusals:
                self._buffer.reclassify(count, reason)
            self.changed.notify_all()
            return points

    def change_producer(self, committed_number: int) -> int:
        """Starts a new numbering for what is not acknowledged.

        Returns how many acknowledged points the service has lost: those above `committed_number`. (If they were in
        more than the last 4,096 batches, all acknowledged points of this producer count.)
        """
        with self.changed:
            missing = max(0, self.acknowledged_number - committed_number)
            lost = sum(list(self._sizes)[-missing:]) if 0 < missing <= len(self._sizes) else 0
            if missing > len(self._sizes):
                lost = self._producer_points
            self.lost_acknowledged += lost
            self._start_producer()
            return lost

    def _start_producer(self) -> None:
        self.producer = uuid.uuid4()
        self._batches = deque(batch.renumbered(n) for n, batch in enumerate(self._batches, start=1))
        self.next_number = len(self._batches) + 1
        self.acknowledged_number = self.highest_sent = self._producer_points = 0
        self._sizes.clear()

    def block(self, refuse: str = "") -> None:
        """Notes that the service accepts nothing of this run now, so nobody should wait for it. With a reason to
        `refuse` for, waiting and new batches are refused and counted until `unblock`."""
        with self.changed:
            self.blocked = True
            if refuse and not self.refusing:
                self.refusing = refuse
                for batch in self._batches:
                    self._buffer.settle(batch.points, batch.size, refuse)
                self._batches.clear()
                self.acknowledged_ordinal = self._ordinal
                self._start_producer()  # numbers that were sent are bound to their points forever
            self.changed.notify_all()

    def unblock(self) -> str:
        """Notes that the service may accept points again; returns the reason why they were refused, if they were."""
        with self.changed:
            refused_for, self.refusing, self.blocked = self.refusing, "", False
            self.changed.notify_all()
            return refused_for

    def ask_again(self) -> None:
        """Lets callers wait again, because the service is asked once more."""
        with self.changed:
            self.blocked = False
            self.changed.notify_all()

    def close(self) -> None:
        """Sends nothing more; batches that were sent may still be acknowledged."""
        with self.changed:
            self.closing = True
            self.changed.notify_all()

    def stop(self, why: str) -> None:
        """Ends sending and acknowledging; all waiting batches are counted as refused."""
        with self.changed:
            self.stopped = self.stopped or why
            for batch in self._batches:
                sent = self.stopped == "closed" and batch.number <= self.highest_sent
                self._buffer.settle(batch.points, batch.size, "unacknowledged" if sent else _not_sent(self.stopped))
            self._batches.clear()
            self.changed.notify_all()

    def notify(self) -> None:
        """Wakes all waiters, so that they check their conditions again."""
        with self.changed:
            self.changed.notify_all()

    def _settled(self, marker: Marker) -> bool:
        return marker.ordinal is not None and self.acknowledged_ordinal >= marker.ordinal


def _not_sent(stopped: str) -> str:
    return "not_sent" if stopped == "closed" else stopped
