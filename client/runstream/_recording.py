"""What one handle has recorded: from log() to columns to records of its journal, and what the agent reports about them.

Only the recorder's thread writes. A handle usually has one journal. It continues in another one when its journal cannot
be used any more: it was deleted, or a sync failed, after which nobody knows what is on disk. While the disk accepts
nothing and the service can be reached, it continues in a second journal, in memory, from which a thread of this process
sends.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from runstream._buffer import Buffer, Marker
from runstream._columns import POINT_BYTES, Columns, SeriesTable
from runstream._joining import Joining
from runstream._journal_store import Journal, JournalStore
from runstream._markers import EndMarker, FlushMarker
from runstream._packer import Packer
from runstream._run_logger import RunLogger
from runstream._settings import Settings
from runstream._waiting_params_tags import WaitingEntries
from runstream.journal.format import RecordType, encode_batch, encode_declare, encode_json
from runstream.journal.position import Position, combined

_DECLARE_SERIES = 200  # keys in one record: at most 200 of 1,000 bytes
_MANY_POINTS_PER_S = 500  # at this rate and above, points are collected for longer before a batch is written
_RETRY_S = 1.0  # how long to wait before writing again after an error of the disk
# After this time without a disk, points are sent from memory; at once if flush() or finish() waits for them.
_MEMORY_AFTER_S = 2.0
_SECOND_CHANCE_S = 1.0  # how long to wait for another answer when the service refuses the run
_KINDS = {"param": RecordType.PARAMS, "tag": RecordType.TAGS}


class Waker(Protocol):
    """The interface of the recorder that this module needs."""

    opening: AbstractContextManager[bool]  # held while a journal is made

    def wake_at(self, due_s: float) -> None:
        """Something was logged: the recorder should handle it at this time of the monotonic clock."""

    def wake(self) -> None:
        """The recorder should run now."""


class Recording:
    """Buffer, columns and journals of one handle in one process. `lazy`: its journal is made with the first record."""

    def __init__(
        self,
        settings: Settings,
        joining: Joining,
        logger: RunLogger,
        store: JournalStore,
        waker: Waker,
        *,
        lazy: bool = False,
    ) -> None:
        self.settings = settings
        self.joining = joining
        self.logger = logger
        self.store = store
        self.buffer = Buffer(settings.max_points, settings.max_bytes, logger, self._on_first, waker.wake)
        self.entries = WaitingEntries(settings.max_call_bytes, logger)
        self.series = SeriesTable()
        self.packer = Packer(
            self.buffer, self.series, logger, settings.batch_points, self._queue_columns, self._queue_marker
        )
        self.on_no_thread: Callable[[], None] = lambda: None  # called when no thread can be started
        self.position = Position()  # of all journals together
        self.write_error = ""  # why nothing can be written; empty if it can
        self.id_was_read = False  # the user read the run id before the service had answered
        self.lost = False  # a journal was deleted with unsettled points in it
        self.closed = False
        self.dead = False  # a bug has ended it
        self._waker = waker
        self._lazy = lazy
        self._journals: list[Journal] = []  # those that are written, and others with something unsettled
        self._current: Journal | None = None  # the journal being written: on disk, unless no directory can be used
        self._spare: Journal | None = None  # the journal in memory, written while the disk accepts nothing
        self._failing_since_s: float | None = None  # since when the disk accepts nothing, by the monotonic clock
        self._spare_retry_s = 0.0  # when to try again to make `_spare`, by the monotonic clock
        self._ended_in_spare = False  # the run's end was written to `_spare`
        self._created = 0  # how many journals were made
        self._retired_position = Position()  # the sum for journals that are not in `_journals` any more
        self._queue: deque[Columns | FlushMarker] = deque()  # complete, and not in a journal yet
        self._entry_records: deque[tuple[str, dict[str, str]]] = deque()  # params and tags that are not in one yet
        self._interval_s = settings.quick_interval_s
        self._retry_s = 0.0  # when to write again after a failure, by the monotonic clock
        self._end: EndMarker | None = None  # once it was written
        self._ended_s: float | None = None  # when FINISH was written, by the monotonic clock
        self._leaving = False  # nobody waits for the handle any more
        # `_leaving` as it was when this turn of the recorder began: only then everything that was logged is drained.
        self._closing = False
        self._values_given_up = False
        self._refused_since_s: float | None = None  # since when the service refuses the run, by the monotonic clock

    # Called by any thread.

    def put(self, kind: str, entries: Mapping[str, str]) -> None:
        """Accepts params or tags; `kind` is "param" or "tag"."""
        self.entries.put(kind, entries)
        self._on_first(time.monotonic())

    def give_up_values(self) -> None:
        """Refuses the values that their devices have not computed yet, as the time is up."""
        self._values_given_up = True
        self._waker.wake()

    def leave(self) -> None:
        """Lets the recorder write what it can, close the journal, and forget the handle. Does not wait for that."""
        self._leaving = True
        self._waker.wake()

    def is_settled(self, marker: FlushMarker) -> bool:
        """Whether everything before the marker has its final answer; offline, whether it is on disk."""
        if self.settings.mode == "offline":
            return self.is_on_disk(marker)
        return marker.reached and all(journal.settled_up_to(sequence) for journal, sequence in marker.records)

    def is_on_disk(self, marker: FlushMarker) -> bool:
        """Whether everything before the marker survives a power cut."""
        return marker.reached and all(
            journal.settled_up_to(sequence) if journal is self._spare else journal.synced_up_to(sequence)
            for journal, sequence in marker.records
        )

    @property
    def run_refused(self) -> bool:
        """Whether the service currently refuses the run as a whole."""
        return self.position.run_state in ("refused", "deleted")

    def is_hopeless(self, since_s: float) -> bool:
        """Whether waiting for answers is useless: the service refuses the run, and since `since_s` (monotonic clock)
        there was time to ask it again and to learn what becomes of the points."""
        refused_s = self._refused_since_s
        return self.dead or (refused_s is not None and time.monotonic() > max(refused_s, since_s) + _SECOND_CHANCE_S)

    @property
    def ended_s(self) -> float:
        """When the run's end was written, by the monotonic clock; infinity if it was not."""
        return math.inf if self._ended_s is None else self._ended_s

    @property
    def run_id(self) -> str:
        """The id that the service has assigned; until it has answered, the one that the handle asks for."""
        return self.position.run_id or self.joining.identity.run_id

    def is_empty(self) -> bool:
        """Whether nothing was recorded and the journal need not exist."""
        waiting = self.buffer.counters().waiting or len(self.entries) or self._entry_records
        return self._lazy and not self._created and not self._journals and not waiting

    def pending_calls(self) -> int:
        """How many params, tags and ends of the run the service has not answered yet."""
        written = sum(journal.pending_calls() for journal in list(self._journals))
        return written + len(self.entries) + sum(len(entries) for _, entries in list(self._entry_records))

    @property
    def path(self) -> str:
        """The journal's directory; while it has none, the directory of all journals; empty if neither exists."""
        return self._current.path if self._current is not None else self.store.path

    @property
    def where(self) -> str:
        """Where points are recorded: "disk", "memory", or "full"."""
        if self.store.full:
            return "full"
        return "memory" if self.write_error or (self._current is not None and self._current.in_memory) else "disk"

    def unsettled_in_memory(self) -> int:
        """Points in journals in memory that the service has not answered yet."""
        return sum(journal.unsettled_points for journal in list(self._journals) if journal.in_memory)

    def _on_first(self, since_s: float) -> None:
        self._waker.wake_at(since_s + self._interval_s)

    # Called by the recorder's thread: from log() to the journal.

    def due_s(self) -> float | None:
        """When something has to be written next, by the monotonic clock; None if nothing waits."""
        since = [one for one in (self.packer.open_since_s(), self.buffer.waiting_since_s()) if one is not None]
        due = min(since) + self._interval_s if since else None
        if self._queue or self._entry_records or self._leaving or (not self._created and not self._lazy):
            return self._retry_s if due is None else min(due, self._retry_s)
        if due is None and len(self.entries):
            return time.monotonic() + self._interval_s
        return due

    def drain(self) -> None:
        """Packs what was logged. The first step of a turn of the recorder."""
        self._closing = self._leaving
        self.packer.drain()

    def seal_and_write(self) -> bool:
        """Writes what is due; returns whether anything was written."""
        now_s = time.monotonic()
        self._seal(now_s)
        return self._write_what_is_due(now_s)

    def _seal(self, now_s: float) -> None:
        """Completes the columns that have waited long enough."""
        if self._values_given_up:
            self.packer.give_up_devices()
        since = self.packer.open_since_s()
        if since is None or (now_s < since + self._interval_s and not self._closing):
            return
        points = self.packer.seal()
        many = points > _MANY_POINTS_PER_S * max(now_s - since, self.settings.quick_interval_s)
        self._interval_s = self.settings.interval_s if many else self.settings.quick_interval_s

    def _write_what_is_due(self, now_s: float) -> bool:
        """Writes everything that is complete, as far as the disk accepts it; returns whether anything was written."""
        if self.store.full:
            self.buffer.close("journal_full")
        else:
            self.buffer.reopen("journal_full")
        before = self._last_record()
        if now_s >= self._retry_s or self._closing:
            self._write_to_disk(now_s)
        if self._failing_since_s is not None:
            self._write_to_memory(now_s)
        return self._last_record() != before

    def _write_to_disk(self, now_s: float) -> None:
        before = self._last_record()
        try:
            self._write_all(self._journal)
        except OSError as error:
            self._retry_s = time.monotonic() + _RETRY_S
            self.write_error = str(error)
            if self._failing_since_s is None:
                self._failing_since_s = now_s
            self.logger.not_written(error, self.settings.max_points)
        else:
            if self.write_error and self._last_record() != before:
                self.write_error, self._failing_since_s = "", None
                self.logger.written_again(self.path)

    def _write_to_memory(self, now_s: float) -> None:
        """Writes what the disk does not accept to a journal in memory, but only while the service can be reached:
        otherwise it waits in the buffer, from which it can still go to the disk."""
        is_waited_for = any(isinstance(one, FlushMarker) for one in self._queue)
        if not is_waited_for and now_s < (self._failing_since_s or 0.0) + _MEMORY_AFTER_S:
            return
        try:
            if self._spare is None and self.store.may_send_from_memory and now_s >= self._spare_retry_s:
                self._spare_retry_s = now_s + _RETRY_S  # if it fails
                self._open_spare()
            if self._spare is not None and self._spare.position.connected:
                self._write_all(lambda: self._spare or self._journal())
        except OSError as error:  # it is full, or no thread can send from it: the rest waits in the buffer
            self.logger.warn_limited("spare journal", "points cannot be sent from memory (%s); they wait", error)

    def _open_spare(self) -> None:
        """Makes the journal in memory. With nothing but its CREATE record, it finds out whether the service can be
        reached."""
        # The run's end is left to the journal on disk, unless that still cannot be written when the run ends.
        joining = self.joining.with_assigned_id(self.position.run_id).for_joiner()._replace(reopens=True)
        self._spare = self.store.create_in_memory(joining.record())
        self._journals.append(self._spare)
        self.logger.sends_from_memory()

    def _release_spare(self) -> None:
        """Forgets the journal in memory when the disk accepts everything again and nothing in it is unsettled."""
        spare = self._spare
        if spare is None or self._failing_since_s is not None or self._ended_in_spare:
            return
        if not _is_used(spare) or spare.settled_up_to(spare.sequence):
            self._forget(spare)

    def _last_record(self) -> tuple[int, ...]:
        return (self._created, *(journal.sequence for journal in self._journals))

    def _write_all(self, journal: Callable[[], Journal]) -> None:
        """Writes everything that is complete to the journal that `journal` returns. Raises OSError."""
        # No new journal after the end: the agent may have deleted the settled one, and another would look like a
        # process that died.
        if not self._lazy and self._ended_s is None:
            journal()
        # Points first: answers about params and tags may take long, and records are settled in the journal's order.
        while self._queue:
            if isinstance(self._queue[0], Columns):
                self._write(self._append_columns, journal)
            else:
                self._write_entries(journal)
                self._write(self._append_marker, journal)
            self._queue.popleft()
        self._write_entries(journal)

    def _write_entries(self, journal: Callable[[], Journal]) -> None:
        if not self._entry_records:
            self._entry_records.extend(self.entries.take())
        while self._entry_records:
            self._write(self._append_entries, journal)
            self._entry_records.popleft()

    def _write(self, append: Callable[[Callable[[], Journal]], None], journal: Callable[[], Journal]) -> None:
        """Appends what is first in its queue; to a new journal if the current one cannot be used any more."""
        try:
            append(journal)
        except OSError as error:
            if self._current is None or self._current.usable:
                raise
            self.logger.warn_limited(
                "new journal", "its journal cannot be used any more, and a new one is made (%s)", error
            )
            append(journal)

    def _journal(self) -> Journal:
        if self._current is None or not self._current.usable:
            joining = self.joining.with_assigned_id(self.position.run_id)
            with self._waker.opening:
                self._current = self.store.create(joining.record())
                self._journals.append(self._current)
            self._created += 1
            self._retire()
        return self._current

    def _append_entries(self, journal: Callable[[], Journal]) -> None:
        kind, entries = self._entry_records[0]
        journal().append_call(_KINDS[kind], encode_json(entries), len(entries))

    def _append_columns(self, chosen: Callable[[], Journal]) -> None:
        columns, journal = self._queue[0], chosen()
        assert isinstance(columns, Columns), "the caller has looked"
        while journal.declared < len(self.series):
            keys = self.series.keys(journal.declared, _DECLARE_SERIES)
            journal.append(RecordType.DECLARE, encode_declare(journal.declared, keys))
            journal.declared += len(keys)
        logged_us = time.time_ns() // 1000 - round((time.monotonic() - columns.logged_s) * 1e6)
        # A number is bound to its points from here on, and `append` leaves nothing behind when it fails.
        payload = encode_batch(
            journal.batches + 1, logged_us, columns.series, columns.steps, columns.times, columns.values
        )
        journal.append_batch(payload, len(columns))
        self.buffer.count_written(len(columns), len(columns) * POINT_BYTES)

    def _append_marker(self, journal: Callable[[], Journal]) -> None:
        """Reaches a marker, as everything before it is in the journals now; writes the run's end for an EndMarker."""
        marker = self._queue[0]
        assert isinstance(marker, FlushMarker), "the caller has looked"
        if isinstance(marker, EndMarker) and self._ended_s is None and not (self._lazy and not self._journals):
            last = journal()
            last.append_call(RecordType.FINISH, marker.payload(), 1)
            self._ended_s, self._ended_in_spare = time.monotonic(), last is self._spare
            self._end = marker
        marker.records = [(one, one.sequence) for one in self._journals if one is not self._spare or _is_used(one)]
        marker.reached = True

    def _queue_columns(self, columns: Columns) -> None:
        self._queue.append(columns)

    def _queue_marker(self, marker: Marker) -> None:
        assert isinstance(marker, FlushMarker), "no other kind is put into the buffer"
        self._queue.append(marker)

    # Called by the recorder's thread: what becomes of the journal.

    def sync_due_s(self) -> float | None:
        """Since when something is neither synced nor at the service, by the monotonic clock; None if nothing is."""
        since = [due for journal in self._journals if (due := journal.sync_due_s()) is not None]
        return min(since) if since else None

    def sync(self) -> None:
        """Syncs the journals that have something unsynced that the service does not have yet."""
        for journal in self._journals:
            if journal.sync_due_s() is not None:
                try:
                    journal.sync()
                except OSError as error:
                    self.logger.warn_limited("sync", "its journal cannot be synced (%s), and a new one is made", error)

    def is_unsettled(self) -> bool:
        """Whether the agent has not settled all records yet."""
        return any(not journal.settled_up_to(journal.sequence) for journal in self._journals)

    def poll(self) -> None:
        """Reads the positions that the agent has saved."""
        changed = [journal.poll() for journal in self._journals]
        if any(changed):
            self._retire()
            self._update_position()

    def _retire(self) -> None:
        """Forgets journals that were deleted, and settled ones that nothing is written to any more."""
        self._release_spare()
        for journal in list(self._journals):
            is_written = journal in (self._current, self._spare)
            if journal.deleted:
                self._lose(journal)
            if journal.deleted or (not is_written and journal.settled_up_to(journal.sequence)):
                self._forget(journal)

    def _forget(self, journal: Journal) -> None:
        self._retired_position = combined([self._retired_position, journal.position])
        self._journals.remove(journal)
        journal.close()
        if journal is self._current:
            self._current = None
        elif journal is self._spare:
            self._spare = None

    def _lose(self, journal: Journal) -> None:
        if journal.unsettled_points > 0:
            self.lost = True
            self.buffer.count_lost(journal.unsettled_points, "journal_deleted")
            self.logger.warn(
                "its journal %s was deleted, with %d points that the service did not have yet; they are lost, and "
                "counted as journal_deleted",
                journal.path,
                journal.unsettled_points,
            )

    def _update_position(self) -> None:
        before = self.run_id
        # The journal that is written comes last, as its position has the newest state of the run.
        last = self._spare if self._ended_in_spare else self._current
        positions = [journal.position for journal in sorted(self._journals, key=lambda one: one is last)]
        self.position = combined([self._retired_position, *positions])
        self.buffer.set_settled(self.position.acknowledged_points, self.position.refused)
        self.logger.run_id = self.run_id
        if self.run_id != before:
            self.logger.moved(before, self.id_was_read)
        for journal in self._journals:
            for level, text in journal.fresh_notices():
                self.logger.pass_on(level, text)
        if not self.run_refused:
            self._refused_since_s = None
        elif self._refused_since_s is None:
            self._refused_since_s = time.monotonic()

    def close_if_done(self) -> bool:
        """The last step of a turn: closes the journals once nobody waits any more. Returns whether it is closed."""
        if not self._closing or self.closed:
            return self.closed
        self.sync()
        self.poll()
        for journal in self._journals:
            if journal.in_memory:
                if journal.unsettled_points:
                    self.buffer.count_lost(journal.unsettled_points, "unacknowledged")
            elif self._ended_in_spare:
                self._end_on_disk(journal)
            journal.close()
        self.buffer.drop_waiting("not_sent")
        self.closed = True
        return True

    def _end_on_disk(self, journal: Journal) -> None:
        """Writes the run's end, which was sent from memory, to the journal on disk as well. Without it, the agent would
        take the process for dead, and set the run to FAILED. If the disk still fails, a settled journal is deleted.
        """
        try:
            assert self._end is not None, "it was written to the other journal"
            journal.append_call(RecordType.FINISH, self._end.payload(), 1)
        except OSError:
            if journal.settled_up_to(journal.sequence):
                with contextlib.suppress(OSError):
                    self.store.delete(journal)

    def die(self, error: BaseException) -> None:
        """Ends the recording because of a bug: from now on points are refused and counted."""
        self.dead = self.closed = True
        self.buffer.close("recorder_died")
        self.buffer.drop_waiting("recorder_died")
        for journal in self._journals:
            journal.close()
        self.logger.recording_crashed(error)

    def abandon_in_child(self) -> None:
        """In a forked child: closes what was inherited of the journals, which stay the parent's."""
        for journal in self._journals:
            journal.abandon_in_child()


def _is_used(journal: Journal) -> bool:
    """Whether it has more than its CREATE record."""
    return journal.sequence > 1
