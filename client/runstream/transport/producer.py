"""The producer of one journal: which batches the service has, which were sent, what comes next. Pure state: no I/O, no
threads, no clock.

Two numberings. A batch has its number in the journal, which never changes. On the wire it has `number - first + 1`,
where `first` is the journal's number of the producer's first batch. The journal's id is the first producer's id. A new
producer starts with a new id when numbers of the old one cannot be used any more: the database was restored to an older
state, batches are missing in the journal or were refused while the run was deleted, or somebody else used the id.

A new id is used only after `id_saved`: if it were forgotten by a crash after batches were sent under it, they would be
sent again under another one, and stored twice.
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
        """What it takes in memory."""
        return 28 * self.points + _OVERHEAD_BYTES


class Event(enum.Enum):
    """What is reported to the user, with a number."""

    LOST = "the database knows less than it had acknowledged"
    FOREIGN = "somebody else streams under the producer's id"
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
        self.refusing = refusing  # why batches are refused until `accept`; empty: they are not
        # Batches before the next one may be missing at the service, since they were refused here.
        self._unsure = bool(refusing or settled.refused.get("run_deleted"))
        self.buffered_bytes = 0
        self.in_flight_bytes = 0
        self._settled = settled
        self._new_id = new_id
        self._on_event = on_event
        self._batches: deque[Batch] = deque()  # read and not settled, in order, without holes
        self._beyond: Batch | None = None  # the first batch behind a hole, until it is known what to do with it
        self._read: int | None = None  # number of the last batch that was read; None: none yet
        self._acknowledged: int | None = None  # highest number that is settled
        self._sent = 0  # how many of `_batches` were sent on this stream
        self._known: int | None = None  # what the service said last: up to this number it has everything
        self._asking_ledger = False
        self._history: deque[tuple[int, int]] = deque(maxlen=_HISTORY)  # number, points
        self._of_producer = settled.acknowledged_points

    # The journal.

    def take(self, batch: Batch) -> None:
        """A batch was read. Not to be called while `at_hole`."""
        self.buffered_bytes += batch.bytes
        if self._read is not None and batch.number != self._read + 1:
            self._on_event(Event.HOLE, max(0, batch.number - self._read - 1))
            self._beyond = batch
        elif batch.number > self.first and (self._unsure or (self._read is None and self._settled.missing)):
            self._beyond = batch
        else:
            self._append(batch)
        self._pass_hole()

    def _append(self, batch: Batch) -> None:
        self._read = batch.number
        self._unsure = False
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
        """No batch can be taken until all before the hole are settled, and the service has said what it has."""
        return self._beyond is not None

    def _pass_hole(self) -> None:
        """Goes on behind the hole: with a new producer, unless the service has what is missing. A power cut can tear
        out of the journal what the agent had read, and sent, before it was on disk."""
        beyond = self._beyond
        if beyond is None or self._batches:
            return
        if self.refusing:
            self._beyond = None
        elif self._known is None:
            return  # the next Open is answered with it
        else:
            self._beyond = None
            if max(self._known, self._acknowledged or 0) < beyond.number - 1:
                self._start(beyond.number)
            else:
                self._acknowledged = beyond.number - 1
        self._append(beyond)

    # A stream.

    @property
    def unacked(self) -> bool:
        """Whether batches wait that are not settled."""
        return bool(self._batches) or self.at_hole

    @property
    def unsent(self) -> int:
        """How many batches wait that were not sent on this stream."""
        return len(self._batches) - self._sent

    @property
    def waiting_points(self) -> int:
        """Points that were read and are not settled."""
        return sum(batch.points for batch in self._batches) + (self._beyond.points if self._beyond else 0)

    @property
    def may_open(self) -> bool:
        """Whether the id may be used."""
        return self.id_is_saved and not self.refusing

    def opening(self) -> tuple[bytes, int]:
        """Id and first_unacked of an Open."""
        self._rewind()
        if self._asking_ledger or self._acknowledged is None:
            return self.id, 1
        return self.id, max(1, self._wire(self._acknowledged + 1))

    def opened(self, committed: int, whole: bool) -> bool:
        """The service answers with the highest committed number of this id. `whole`: everything that the journal has
        was read, and its writer lives. Returns False if another Open is needed, as the id was replaced."""
        self._asking_ledger = False
        known = self.first - 1 + committed
        if self._acknowledged is not None and known < self._acknowledged and self._acknowledged >= self.first:
            self._lose(known)
            return False
        last_read = self._beyond.number if self._beyond else self._read
        if whole and last_read is not None and known > last_read:
            # Batches that are written later would get numbers that are committed already: they would be taken for
            # repeats and vanish. (Without a writer nothing is written later: a longer copy of this journal was sent.)
            self._on_event(Event.FOREIGN, committed)
            self._start((last_read if self._acknowledged is None else self._acknowledged) + 1)
            return False
        self._known = known
        self._rewind()
        before = self.id
        self._settle_up_to(known)
        return self.id == before  # everything before a hole may be settled with it

    def _lose(self, known: int) -> None:
        assert self._acknowledged is not None
        missing = self._acknowledged - max(known, self.first - 1)
        counted = [points for number, points in self._history if known < number <= self._acknowledged]
        # If the sizes are not known any more, all acknowledged points of this producer count.
        lost = sum(counted) if len(counted) == missing else self._of_producer
        self.lost_acknowledged += lost
        self._on_event(Event.LOST, lost)
        self._start(self._acknowledged + 1)

    def data_loss(self) -> None:
        """The service knows less than `opening` claimed. The next Open claims nothing, to learn what it has."""
        self._asking_ledger = True

    def next_batches(self, max_bytes: int, max_in_flight: int, max_batches: int = 1_024) -> list[Batch]:
        """The next batches to send, in order; at least one if any waits and nothing is in flight."""
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
        """Its number on the wire."""
        return self._wire(batch.number)

    def acknowledged(self, committed: int, refusals: Iterable[tuple[str, int]] = ()) -> int:
        """Everything up to this number is committed, except for the points in `refusals` (reason, count). Returns how
        many batches that settled."""
        highest = self.first - 1 + committed
        if self._sent:
            # Nobody can have committed what was never sent.
            return self._settle_up_to(min(highest, self._batches[self._sent - 1].number), dict(refusals))
        return 0

    def closed(self) -> None:
        """The stream has ended, or this producer on it: what was sent may have been committed or not."""
        self._rewind()

    def _rewind(self) -> None:
        self._sent = 0
        self.in_flight_bytes = 0

    # The run.

    def refuse(self, reason: str) -> None:
        """Batches that wait and batches to come are refused for this reason, until `accept`."""
        self.refusing = reason
        self._refuse_all()

    def accept(self) -> None:
        """Batches are accepted again. Those that were refused are a hole for the service."""
        if self.refusing:
            self.refusing = ""
            self._unsure = True
            self._acknowledged = self._known = None

    def id_saved(self, producer: bytes) -> None:
        """This id and its first batch are on disk. It may have been replaced since."""
        self.id_is_saved = self.id == producer

    # Inside.

    def _wire(self, number: int) -> int:
        return number - self.first + 1

    def _start(self, first: int) -> None:
        self.id = self._new_id()
        self.id_is_saved = False
        self.first = first
        self._acknowledged = first - 1
        self._read = first - 1 + len(self._batches)
        self._known = None
        self._unsure = False
        self._of_producer = 0
        self._history.clear()
        self._asking_ledger = False
        self._rewind()

    def _refuse_all(self) -> None:
        while self._batches:
            self._settle_first(self.refusing)
        self._rewind()
        self._pass_hole()

    def _settle_up_to(self, number: int, refused: Mapping[str, int] | None = None) -> int:
        count = 0
        left = dict(refused or {})
        while self._batches and self._batches[0].number <= number:
            left = self._settle_first("", left)
            count += 1
        self._pass_hole()
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
        self._of_producer += batch.points
        return rest


def _shared(refused: dict[str, int], points: int) -> tuple[dict[str, int], dict[str, int]]:
    """The refusals that one batch of this many points can have, and those that are left for the batches after it."""
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
