"""The producer of one journal: which batches the service has, which were sent, and which come next. Pure state: no I/O,
no threads, no clock.

A batch has two numbers. The one in the journal never changes. On the wire it is `number - first + 1`, where `first` is
the number in the journal of the producer's first batch. The journal's id is the id of its first producer. A new
producer with a new id starts when the numbers of the old one cannot be used any more: the database was restored to an
older state, batches are missing in the journal or were refused while the run was deleted, or somebody else used the id.

A new id is only used after `id_saved`: if a crash made us forget it after batches were sent under it, they would be
sent again under another id, and stored twice.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from runstream.transport.settled import Outcome, SettledRecords

_HISTORY = 4_096  # keep the sizes of this many acknowledged batches, to count what a restored database lost
_OVERHEAD_BYTES = 300  # the objects around a batch


@dataclass(frozen=True)
class Batch:
    """A batch as it is in the journal. `series_index` and the other columns are little-endian bytes."""

    sequence: int
    number: int
    points: int
    oldest_unix_us: int
    series_index: bytes | memoryview
    step: bytes | memoryview
    time_unix_us: bytes | memoryview
    value: bytes | memoryview

    @property
    def bytes(self) -> int:
        """How much memory the batch takes, in bytes."""
        return 28 * self.points + _OVERHEAD_BYTES


class Event(enum.Enum):
    """Events that are reported to the user, each with a number: points lost, the foreign batch, batches missing."""

    LOST = "the database knows less than it had acknowledged"
    FOREIGN = "another process streams under the producer's id"
    HOLE = "batches are missing in the journal"


class Producer:
    """The batches of one journal on their way to the service."""

    def __init__(
        self,
        settled: SettledRecords,
        producer: bytes,
        new_id: Callable[[], bytes],
        *,
        first: int = 1,
        refusing: str = "",
        on_event: Callable[[Event, int], None] = lambda event, count: None,
    ) -> None:
        self.id = producer
        self.first = first
        self.id_is_saved = True
        self.lost_acknowledged = 0
        self.refusing = refusing  # why batches are refused until `accept`; empty: they are not refused
        # The service may lack batches before the next one, since they were refused here.
        self._may_lack_earlier = bool(refusing or settled.refused.get("run_deleted"))
        self.buffered_bytes = 0
        self.in_flight_bytes = 0
        self._settled = settled
        self._new_id = new_id
        self._on_event = on_event
        # All numbers are those in the journal.
        self._batches: deque[Batch] = deque()  # read and not settled, in order, without holes
        self._after_hole: Batch | None = None  # the first batch after a hole, until the service has said what it has
        self._read: int | None = None  # the last batch that was read; None: none yet
        self._acknowledged: int | None = None  # the highest batch that is settled
        self._sent = 0  # how many of `_batches` were sent on this stream
        self._known: int | None = None  # up to this batch, the service has everything, as its last Opened said
        self._asking_ledger = False  # the next Open claims no acknowledged batch, to learn what the service has
        self._history: deque[tuple[int, int]] = deque(maxlen=_HISTORY)  # number and points of acknowledged batches
        self._acknowledged_points = settled.acknowledged_points  # of this producer

    # The journal.

    def take(self, batch: Batch) -> None:
        """Accepts a batch that was read. Not to be called while `at_hole`."""
        self.buffered_bytes += batch.bytes
        if self._read is not None and batch.number != self._read + 1:
            self._on_event(Event.HOLE, max(0, batch.number - self._read - 1))
            self._after_hole = batch
        elif batch.number > self.first and (self._may_lack_earlier or (self._read is None and self._settled.missing)):
            self._after_hole = batch
        else:
            self._append(batch)
        self._continue_after_hole()

    def _append(self, batch: Batch) -> None:
        self._read = batch.number
        self._may_lack_earlier = False
        if self._acknowledged is None:
            self._acknowledged = batch.number - 1
        self._batches.append(batch)
        if self.refusing:
            self._refuse_all()
        elif batch.number < self.first:
            self._settle_up_to(batch.number)  # it was settled under an earlier id
        elif self._known is not None and batch.number <= self._known:
            self._settle_up_to(batch.number)

    @property
    def at_hole(self) -> bool:
        """Whether no batch can be taken until all before a hole are settled and the service has said what it has."""
        return self._after_hole is not None

    def _continue_after_hole(self) -> None:
        """Continues after the hole, if possible by now: with a new producer, unless the service has what is missing.
        (The agent may have read and sent a batch before it was on disk, and then a power cut took it.)"""
        beyond = self._after_hole
        if beyond is None or self._batches:
            return
        if self.refusing:
            self._after_hole = None
        elif self._known is None:
            return  # the next Opened says it
        else:
            self._after_hole = None
            if max(self._known, self._acknowledged or 0) < beyond.number - 1:
                self._start(beyond.number)
            else:
                self._acknowledged = beyond.number - 1
        self._append(beyond)

    # A stream.

    @property
    def unacked(self) -> bool:
        """Whether any batch that was read is not settled."""
        return bool(self._batches) or self.at_hole

    @property
    def unsent(self) -> int:
        """How many batches were read and not sent on this stream."""
        return len(self._batches) - self._sent

    @property
    def waiting_points(self) -> int:
        """Points that were read and are not settled."""
        return sum(batch.points for batch in self._batches) + (self._after_hole.points if self._after_hole else 0)

    @property
    def may_open(self) -> bool:
        """Whether the producer may be opened: its id is saved, and its batches are not refused."""
        return self.id_is_saved and not self.refusing

    def opening(self) -> tuple[bytes, int]:
        """Returns the id and `first_unacked` for an Open."""
        self._rewind()
        if self._asking_ledger or self._acknowledged is None:
            return self.id, 1
        return self.id, max(1, self._wire(self._acknowledged + 1))

    def opened(self, committed: int, whole: bool) -> bool:
        """Notes the highest committed number (on the wire) of an Opened. `whole`: everything in the journal was read,
        and its writer lives. Returns False if another Open is needed, as the id was replaced."""
        self._asking_ledger = False
        known = self.first - 1 + committed
        if self._acknowledged is not None and known < self._acknowledged and self._acknowledged >= self.first:
            self._lose(known)
            return False
        last_read = self._after_hole.number if self._after_hole else self._read
        if whole and last_read is not None and known > last_read:
            # Batches that are written later would get numbers that are committed already: the service would take them
            # for repetitions, and drop them. (Without a writer, a longer copy of this journal was sent: no danger.)
            self._on_event(Event.FOREIGN, committed)
            self._start((last_read if self._acknowledged is None else self._acknowledged) + 1)
            return False
        self._known = known
        self._rewind()
        before = self.id
        self._settle_up_to(known)
        return self.id == before  # settling everything before a hole may have started a new producer

    def _lose(self, known: int) -> None:
        assert self._acknowledged is not None
        missing = self._acknowledged - max(known, self.first - 1)
        counted = [points for number, points in self._history if known < number <= self._acknowledged]
        # If the sizes are not all known any more, all acknowledged points of this producer are counted.
        lost = sum(counted) if len(counted) == missing else self._acknowledged_points
        self.lost_acknowledged += lost
        self._on_event(Event.LOST, lost)
        self._start(self._acknowledged + 1)

    def data_loss(self) -> None:
        """Notes that the service has less than `opening` claimed. The next Open claims nothing, to learn what it
        has."""
        self._asking_ledger = True

    def next_batches(self, max_bytes: int, max_in_flight: int, max_batches: int = 1_024) -> list[Batch]:
        """Returns the next batches to send, in order; at least one if any waits and nothing is in flight."""
        chosen: list[Batch] = []
        size = 0
        while self._sent < len(self._batches) and len(chosen) < max_batches:
            batch = self._batches[self._sent]
            more = size + batch.bytes
            if (chosen and more > max_bytes) or (self._sent and self.in_flight_bytes + batch.bytes > max_in_flight):
                break
            size = more
            self._sent += 1
            self.in_flight_bytes += batch.bytes
            chosen.append(batch)
        return chosen

    def wire_number(self, batch: Batch) -> int:
        """The number of a batch on the wire."""
        return self._wire(batch.number)

    def acknowledged(self, committed: int, refusals: Iterable[tuple[str, int]] = ()) -> int:
        """Notes that everything up to this number (on the wire) is committed, except for the points in `refusals`
        (reason, count). Returns how many batches that settled."""
        highest = self.first - 1 + committed
        if self._sent:
            # Batches that were never sent cannot be committed.
            return self._settle_up_to(min(highest, self._batches[self._sent - 1].number), dict(refusals))
        return 0

    def closed(self) -> None:
        """Notes that the stream has ended, or this producer on it: what was sent may be committed or not."""
        self._rewind()

    def _rewind(self) -> None:
        self._sent = 0
        self.in_flight_bytes = 0

    # The run.

    def refuse(self, reason: str) -> None:
        """Refuses the batches that wait and those that follow, for this reason, until `accept`."""
        self.refusing = reason
        self._refuse_all()

    def accept(self) -> None:
        """Accepts batches again. Those that were refused are a hole for the service."""
        if self.refusing:
            self.refusing = ""
            self._may_lack_earlier = True
            self._acknowledged = self._known = None

    def id_saved(self, producer: bytes) -> None:
        """Notes that this id and its first batch are on disk. The id may have been replaced since."""
        self.id_is_saved = self.id == producer

    # Internal.

    def _wire(self, number: int) -> int:
        return number - self.first + 1

    def _start(self, first: int) -> None:
        self.id = self._new_id()
        self.id_is_saved = False
        self.first = first
        self._acknowledged = first - 1
        self._read = first - 1 + len(self._batches)
        self._known = None
        self._may_lack_earlier = False
        self._acknowledged_points = 0
        self._history.clear()
        self._asking_ledger = False
        self._rewind()

    def _refuse_all(self) -> None:
        while self._batches:
            self._settle_first(self.refusing)
        self._rewind()
        self._continue_after_hole()

    def _settle_up_to(self, number: int, refused: Mapping[str, int] | None = None) -> int:
        count = 0
        left = dict(refused or {})
        while self._batches and self._batches[0].number <= number:
            left = self._settle_first("", left)
            count += 1
        self._continue_after_hole()
        return count

    def _settle_first(self, reason: str, refused: dict[str, int] | None = None) -> dict[str, int]:
        batch = self._batches.popleft()
        self.buffered_bytes -= batch.bytes
        if self._sent:
            self._sent -= 1
            self.in_flight_bytes -= batch.bytes
        self._acknowledged = batch.number
        if reason:
            self._settled.settle(batch.sequence, Outcome(0, {reason: batch.points}))
            return {}
        here, rest = _shared(refused or {}, batch.points)
        stored = batch.points - sum(here.values())
        self._settled.settle(batch.sequence, Outcome(stored, here))
        self._history.append((batch.number, batch.points))
        self._acknowledged_points += batch.points
        return rest


def _shared(refused: dict[str, int], points: int) -> tuple[dict[str, int], dict[str, int]]:
    """Divides refusals: those of one batch with this many points, and those that are left for the batches after it."""
    here: dict[str, int] = {}
    rest: dict[str, int] = {}
    for reason, count in refused.items():
        taken = min(count, points)
        points -= taken
        if taken:
            here[reason] = taken
        if count > taken:
            rest[reason] = count - taken
    return here, rest
