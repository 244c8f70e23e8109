"""One open producer: the series it declared, the number of the next batch, the last committed batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from runstream_service.core.names import KeyProblem, key_problem
from runstream_service.errors.core import DatabaseChanged, Fenced, InvalidField, SequenceGap, UndeclaredSeries
from runstream_service.ingest.limits import (
    MAX_BATCH_POINTS,
    MAX_SERIES_PER_PRODUCER,
    MAX_TIME_UNIX_US,
    MIN_TIME_UNIX_US,
)
from runstream_service.ingest.refusals import Reason, Refusal, add_up
from runstream_service.sharing.current import NO_WORKSPACE

if TYPE_CHECKING:
    from uuid import UUID

    from runstream_service.errors.core import CoreError
    from runstream_service.ingest.decode import Batch, Float64Column, Int64Column, UInt32Column
    from runstream_service.ingest.series import ResolvedSeries

# No key has this hash.
_NO_KEY = 0
# How many refused keys of a producer have an example of their own. Further keys share the last one, so that many bad
# keys do not fill the memory.
_MAX_EXAMPLES = 100
_UNDECLARED = -1
# The series table holds a series id, _UNDECLARED, or for a refused series this minus the position of its refusal.
_REFUSED = -2
# Stands in a column of series ids for points that are refused for a reason other than their key.
_REFUSED_BEYOND = _REFUSED_FOR_TIME = np.iinfo(np.int64).min

_KEY_REASONS = {
    KeyProblem.EMPTY: Reason.KEY_EMPTY,
    KeyProblem.TOO_LONG: Reason.KEY_TOO_LONG,
    KeyProblem.CONTROL_CHARACTER: Reason.KEY_CONTROL_CHARACTER,
}


# The least that a batch takes from the budget: its bookkeeping needs about as much memory as this many points of 28
# bytes. Without it, any number of empty batches could wait.
MIN_CHARGE_POINTS = 32


@dataclass(slots=True)
class PendingBatch:
    """One batch on its way to the database. Its columns are equally long, and have only points that can be stored."""

    producer: Producer
    number: int
    series_id: Int64Column
    step: Int64Column
    time_unix_us: Int64Column
    value: Float64Column
    refusals: list[Refusal] = field(default_factory=list)
    # When it was received, by the monotonic clock.
    received_at: float = 0.0
    # When its oldest point was logged, by the same clock; None if the client does not say.
    oldest_logged_at: float | None = None
    # Points taken from the budget until the stream knows the outcome; unchanged when points are refused later.
    charge: int = field(init=False)
    # The points that its writer counted when it took the batch; unchanged when points are refused later.
    queued_points: int = 0
    # True once the stream knows the outcome.
    completed: bool = False

    def __post_init__(self) -> None:
        self.charge = max(len(self.step), MIN_CHARGE_POINTS)

    def detach(self) -> None:
        """Copy the columns, so that they do not keep the rest of their message in memory."""
        self.step, self.time_unix_us, self.value = self.step.copy(), self.time_unix_us.copy(), self.value.copy()

    @property
    def points(self) -> int:
        """How many points are to be stored."""
        return len(self.series_id)

    def complete(self, error: CoreError | None) -> None:
        """Report the outcome to the stream: it is in the database (None), or it was not stored, which ends the
        stream."""
        if error is None:
            self.producer.committed(self.number, self.refusals)
        else:
            self.producer.fail(error)
            self.producer.abandoned()

    def abandon(self) -> None:
        """The service stops before the outcome is known; the batch is sent again on another stream."""
        self.producer.abandoned()

    @property
    def kept_together(self) -> object:
        """The key for WriterRouter: items under way with the same key go to the same writer."""
        return self.producer

    @property
    def caller(self) -> object:
        """Where the outcome is reported: the stream. Batches of all of its producers have the same one."""
        return self.producer.carrier

    def error_for_verdict(self, verdict: str, committed_before: int) -> CoreError | None:
        """The error for begin_group_commit's verdict on its producer; None if it is stored now, or was before."""
        producer = self.producer
        if verdict == "fenced":
            return Fenced(
                f"producer {producer.producer_id}: session {producer.session} is over: a newer stream of this producer "
                "took over, or its run was deleted; open again to find out",
                field="open.producer_id",
            )
        if verdict == "gap" and committed_before < producer.committed_number:
            return reopen_error(f"the ledger stands at {committed_before}, below this stream's last commit")
        if verdict == "gap":
            return SequenceGap(
                f"batch.number: the ledger stands at {committed_before}; send the batches after it again",
                field="batch.number",
            )
        return None

    @property
    def server_start_id(self) -> str:
        """The start of the database server under which its producer was opened; see Producer."""
        return self.producer.server_start_id

    def server_changed_error(self) -> CoreError:
        """The error of a batch whose stream was opened before the server was restarted or replaced."""
        return self.producer.server_changed_error()

    @property
    def run_id(self) -> UUID:
        """The run of its points."""
        return self.producer.run_id

    @property
    def workspace_id(self) -> int:
        """The workspace of its run."""
        return self.producer.workspace_id

    @property
    def rank(self) -> int:
        """The rank that its points are of."""
        return self.producer.rank

    def refuse_all(self, reason: Reason, example: str) -> None:
        """Refuse all points, which leaves an empty batch: its commit uses up its number, so that the next batch can
        follow."""
        self.refusals.append(Refusal(reason, self.points, example))
        empty = slice(0, 0)
        self.series_id, self.step = self.series_id[empty], self.step[empty]
        self.time_unix_us, self.value = self.time_unix_us[empty], self.value[empty]


def reopen_error(why: str) -> DatabaseChanged:
    """The error that ends a stream whose session and series may be unknown to the database now. The next Open finds out
    what was lost, if anything, and the next Declare looks up the series again."""
    return DatabaseChanged(f"the stream has to be opened again: {why}", retry_after_s=0.1)


class Listener(Protocol):
    """What is notified when the state of a producer changes, to inform its client."""

    @property
    def stream(self) -> object:
        """The stream that carries the producer."""

    def changed(self) -> None:
        """Called when there may be an ack to take, or an error."""


class _NoListener:
    """The listener of a producer whose stream has ended."""

    stream = None

    def changed(self) -> None:
        pass


_NO_LISTENER = _NoListener()


class Producer:
    """State of one producer on a stream, after Open. Used by one event loop; nothing here blocks.

    Its session and series are valid on the database server with `server_start_id`. They are never used after that
    server was restarted, nor on another one.
    """

    def __init__(
        self,
        producer_id: UUID,
        run_id: UUID,
        rank: int,
        attempt: int,
        session: int,
        committed_number: int,
        server_start_id: str,
        listener: Listener = _NO_LISTENER,
        workspace_id: int = NO_WORKSPACE,
    ) -> None:
        self.producer_id = producer_id
        self.workspace_id = workspace_id
        self.run_id = run_id
        self.rank = rank
        self.attempt = attempt
        self.session = session
        self.committed_number = committed_number
        self.server_start_id = server_start_id
        self.duplicate_batches = 0
        # Why it has ended, for a reason other than its own messages, such as fencing.
        self.error: CoreError | None = None
        self._listener = listener
        self._received_number: int | None = None
        self._in_flight = 0
        self._acknowledged_number = committed_number
        self._refusals: dict[Reason, Refusal] = {}
        # The hash of the key of each index, to notice when an index is declared again with another key. The keys
        # themselves would take ten times as much memory, and a replica has millions of them.
        self._key_hashes = np.full(64, _NO_KEY, np.int64)
        self._series = np.full(64, _UNDECLARED, np.int64)
        # A view of the first entries of `_series`, which all are series ids: none is undeclared or refused.
        self._resolved = self._series[:0]
        self._refused_keys: list[tuple[Reason, str]] = []
        self._shared_examples: dict[Reason, int] = {}

    def server_changed_error(self) -> DatabaseChanged:
        """The error that ends a stream that was opened before the server was restarted or replaced."""
        return reopen_error("it was opened before the database was restarted or failed over")

    # Declaring -------------------------------------------------------------------------------------------------------

    def new_keys(self, declared: list[tuple[int, str]]) -> dict[int, str]:
        """The declared (index, key) pairs that still need a series id, as a dict. Pairs with a bad key are marked as
        refused.

        Raises:
            InvalidField: an index was declared before with another key.
        """
        wanted: dict[int, str] = {}
        for index, key in declared:
            if index >= MAX_SERIES_PER_PRODUCER:
                continue  # its points are refused, whatever the key
            self._check_same_key(index, key)
            if self._lookup(index) != _UNDECLARED:
                continue
            problem = key_problem(key)
            if problem is None:
                wanted[index] = key
            else:
                self._refuse_key(index, _KEY_REASONS[problem], f"key {key[:80]!r} ({len(key)} characters)")
        return wanted

    def _check_same_key(self, index: int, key: str) -> None:
        if index >= len(self._key_hashes):
            self._key_hashes = _grown(self._key_hashes, index, _NO_KEY)
        key_hash = hash(key) or 1
        before = self._key_hashes[index]
        if before == _NO_KEY:
            self._key_hashes[index] = key_hash
        elif before != key_hash:
            raise InvalidField(
                f"declare.series: index {index} is declared as {key!r}, but was declared as another key on this "
                "stream; use a new index for a new key",
                field="declare.series.series_index",
            )

    def bind(self, keys: dict[int, str], resolved: ResolvedSeries) -> None:
        """Record the series of `keys` (index -> key), or why the points of a key are refused."""
        for index, key in keys.items():
            series_id = resolved.ids.get(key)
            if series_id is not None:
                self._bind(index, series_id)
            else:
                self._refuse_key(index, *resolved.refused[key])
        start = len(self._resolved)
        missing = np.flatnonzero(self._series[start:] < 0)
        self._resolved = self._series[: start + missing[0] if len(missing) else len(self._series)]

    def _refuse_key(self, index: int, reason: Reason, example: str) -> None:
        if len(self._refused_keys) >= _MAX_EXAMPLES:
            shared = self._shared_examples.get(reason)
            if shared is not None:
                self._bind(index, _REFUSED - shared)
                return
            self._shared_examples[reason] = len(self._refused_keys)
            example += ", and further keys"
        self._bind(index, _REFUSED - len(self._refused_keys))
        self._refused_keys.append((reason, example))

    def _lookup(self, index: int) -> int:
        return int(self._series[index]) if index < len(self._series) else _UNDECLARED

    def _bind(self, index: int, entry: int) -> None:
        if index >= len(self._series):
            self._series = _grown(self._series, index, _UNDECLARED)
        self._series[index] = entry

    # Receiving -------------------------------------------------------------------------------------------------------

    def receive(self, batch: Batch, *, times_are_usual: bool = False) -> PendingBatch | None:
        """Check a batch and turn its indexes into series ids. Returns None if the batch is committed already.
        `times_are_usual`: all times are between 1970 and the year 9999, so they are not checked again.

        Raises:
            SequenceGap: its number does not follow the last one.
            UndeclaredSeries: an index that was not declared on this stream.
        """
        self._check_number(batch.number)
        if batch.number <= self.committed_number:
            self._received_number = batch.number
            self.duplicate_batches += 1
            return None
        pending = self._pending(batch, times_are_usual=times_are_usual)
        # Set only now: a batch that ended the stream with an error was not received.
        self._received_number = batch.number
        self._in_flight += 1
        return pending

    def _check_number(self, number: int) -> None:
        last = self._received_number
        if last == number - 1:
            return
        if last is None:
            # Batches that are sent again may begin anywhere up to the next number.
            lowest, highest = 1, self.committed_number + 1
        else:
            lowest = highest = last + 1
        if not lowest <= number <= highest:
            expected = str(highest) if lowest == highest else f"{lowest} to {highest}"
            raise SequenceGap(
                f"batch.number: got {number}, expected {expected} (committed: {self.committed_number}); "
                "send every batch after the committed number again, in order",
                field="batch.number",
            )

    def _pending(self, batch: Batch, *, times_are_usual: bool) -> PendingBatch:
        count = len(batch.value)
        is_stored = 0 < count <= MAX_BATCH_POINTS
        series_id, refusals = self._series_ids(batch.series_index) if is_stored else (batch.step, [])
        pending = PendingBatch(
            self,
            batch.number,
            series_id,
            batch.step,
            batch.time_unix_us,
            batch.value,
            refusals,
            batch.received_at,
            batch.oldest_logged_at,
        )
        if count > MAX_BATCH_POINTS:
            pending.refuse_all(Reason.BATCH_TOO_LARGE, f"batch {batch.number} has {count} points")
        elif is_stored:
            if not times_are_usual:
                self._refuse_times(pending)
            if refusals:
                _keep(pending, (pending.series_id >= 0))
        return pending

    def _series_ids(self, series_index: UInt32Column) -> tuple[Int64Column, list[Refusal]]:
        """The series id of each point; negative for points that are refused."""
        try:
            # Nearly always: entries of `_resolved` need no check.
            return self._resolved.take(series_index), []
        except IndexError:
            return self._series_ids_one_by_one(series_index)

    def _series_ids_one_by_one(self, series_index: UInt32Column) -> tuple[Int64Column, list[Refusal]]:
        refusals: list[Refusal] = []
        highest = int(series_index.max())
        if highest < len(self._series):
            series_id = self._series[series_index]
        else:
            series_id = self._series[np.minimum(series_index, len(self._series) - 1)]
            series_id[series_index >= len(self._series)] = _UNDECLARED
            beyond = series_index >= MAX_SERIES_PER_PRODUCER
            if beyond.any():
                example = f"series index {highest}; a producer may declare {MAX_SERIES_PER_PRODUCER}"
                refusals.append(Refusal(Reason.TOO_MANY_SERIES, int(beyond.sum()), example))
                series_id[beyond] = _REFUSED_BEYOND
        if series_id.min() < 0:
            self._refuse_series(series_id, series_index, refusals)
        return series_id, refusals

    def _refuse_series(self, series_id: Int64Column, series_index: UInt32Column, refusals: list[Refusal]) -> None:
        undeclared = series_id == _UNDECLARED
        if undeclared.any():
            raise UndeclaredSeries(
                f"batch.series_index: {int(series_index[undeclared][0])} was not declared on this stream; "
                "send Declare before the first batch that uses an index, and again after every Open",
                field="batch.series_index",
            )
        bad = np.unique(series_id[(series_id <= _REFUSED) & (series_id != _REFUSED_BEYOND)], return_counts=True)
        for entry, points in zip(*bad, strict=True):
            reason, example = self._refused_keys[_REFUSED - int(entry)]
            refusals.append(Refusal(reason, int(points), example))

    def _refuse_times(self, pending: PendingBatch) -> None:
        times = pending.time_unix_us
        wrong = ((times < MIN_TIME_UNIX_US) | (times > MAX_TIME_UNIX_US)) & (pending.series_id >= 0)
        if not wrong.any():
            return
        example = f"time_unix_us {int(times[wrong][0])} is not in years 1 to 9999 (microseconds since 1970)"
        pending.refusals.append(Refusal(Reason.TIME_OUT_OF_RANGE, int(wrong.sum()), example))
        pending.series_id[wrong] = _REFUSED_FOR_TIME

    # Ending ----------------------------------------------------------------------------------------------------------

    def committed(self, number: int, refusals: list[Refusal]) -> None:
        """A batch is committed (or was before; then it has no refusals to report)."""
        self._in_flight -= 1
        if number > self.committed_number:
            self.committed_number = number
        if refusals:
            add_up(self._refusals, refusals)
        self._listener.changed()

    def abandoned(self) -> None:
        """A batch will not be committed by this stream: it is fenced, or the service stops."""
        self._in_flight -= 1
        self._listener.changed()

    def fail(self, error: CoreError) -> None:
        """End the producer on this stream with `error`; the first one counts."""
        if self.error is None:
            self.error = error
            self._listener.changed()

    def forget(self) -> None:
        """Its stream has ended: notify nobody from now on."""
        self._listener = _NO_LISTENER

    @property
    def carrier(self) -> object:
        """The stream that carries the producer; None after `forget`."""
        return self._listener.stream

    @property
    def nothing_in_flight(self) -> bool:
        """True when nothing of this producer is on its way to the database."""
        return self._in_flight == 0

    def take_ack(self) -> tuple[int, list[Refusal]] | None:
        """The next ack: the committed number, and the refusals since the previous one. None if there is nothing new."""
        if self.committed_number == self._acknowledged_number and not self._refusals:
            return None
        self._acknowledged_number = self.committed_number
        refusals, self._refusals = self._refusals, {}
        return self._acknowledged_number, list(refusals.values())


def _grown(column: Int64Column, index: int, empty: int) -> Int64Column:
    """A longer copy of the column, which has a row `index`; new rows are `empty`."""
    grown = np.full(min(max(2 * len(column), index + 1), MAX_SERIES_PER_PRODUCER), empty, np.int64)
    grown[: len(column)] = column
    return grown


def _keep(pending: PendingBatch, rows: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> None:
    pending.series_id, pending.step = pending.series_id[rows], pending.step[rows]
    pending.time_unix_us, pending.value = pending.time_unix_us[rows], pending.value[rows]
