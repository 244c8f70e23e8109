"""One journal that is being sent to the service: what was read, sent and answered, and its position.

The transport's thread reads records and saves positions; the threads of streams and calls report what the service
answers. All state is guarded by the transport's lock. Only `read_records`, `store` and `release` use files, and they
run without the lock.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from runstream._backoff import Backoff
from runstream._endpoint import Endpoint
from runstream.journal import Position, Record, RecordType
from runstream.journal.format import decode_batch, decode_json
from runstream.journal.reader import Damage, JournalReader
from runstream.transport.earlier_steps import EarlierSteps
from runstream.transport.limits import Limits
from runstream.transport.notices import JournalNotices, Log
from runstream.transport.pause import Pause
from runstream.transport.producer import Batch, Event, Producer
from runstream.transport.run_calls import Creation, RunCalls
from runstream.transport.settled import SettledRecords

_READ_BYTES = 512 * 1024  # the most to read at a time, so that no journal delays the others
_MAX_REPORTED_DAMAGE = 20
_STABLE_S = 3.0  # if a producer was open for this long, no copy of it is fencing it


class Journal(Protocol):
    """The interface of a journal that a feed reads: a JournalReader, a MemoryJournal, or tensorboard's EventJournal."""

    id: str
    create: dict[str, Any]
    keys: dict[int, str]
    damage: list[Damage]
    finished: bool

    def read(self, max_bytes: int) -> list[Record]:
        """The next records, about `max_bytes` of them; [] if there is none at the moment."""

    def is_complete(self) -> bool:
        """Whether everything was read and nothing will come."""

    def writer_alive(self) -> bool:
        """Whether the writer's process lives."""


@dataclass
class Session:
    """A producer on a stream."""

    index: int
    producer: bytes  # its id
    asked_s: float  # when its Open was sent, by the monotonic clock
    opened: bool = False
    declared: set[int] = field(default_factory=set)  # indexes of series


class Feed:
    """One journal. `path` is None for one without a directory, whose position is passed to `save`."""

    def __init__(
        self,
        journal: Journal,
        path: Path | None,
        position: Position,
        limits: Limits,
        log: Log,
        endpoint: Endpoint,
        save: Callable[[Position], None] = lambda position: None,
    ) -> None:
        self.journal = journal
        self._save = save
        self.path = path
        self.position = position  # as it was saved last
        self.creation = Creation.of(journal.create)
        self.endpoint = endpoint
        self.writer_may_live = False  # this is a copy, and the writer may live on another machine
        self.superseded = False  # there is a newer journal that ends the same run
        if position.run_id:
            self.creation.run_id, self.creation.derived = position.run_id, False
        self.settled = SettledRecords(position.records, position.acknowledged_points, position.refused)
        self.notices = JournalNotices(self.address, self.creation.run_id, log, position.notices)
        self.notices.last_error = position.last_error
        self.producer = Producer(
            self.settled,
            bytes.fromhex(position.producer or journal.id),
            lambda: os.urandom(16),
            first=position.producer_first_batch,
            refusing="run_deleted" if position.run_state == "deleted" else "",
            on_event=self._on_event,
        )
        self.producer.lost_acknowledged = position.lost_acknowledged
        self.calls = RunCalls(
            self.creation,
            self.settled,
            self.notices,
            lambda: Backoff(limits.backoff_first_s, limits.backoff_max_s),
            state=position.run_state,
            on_refused=self._run_refused,
            on_accepted=self._run_accepted,
        )
        self.calls.run_name = position.run_name
        self.calls.end_refused = position.end_refused
        self.calls.finished = position.finished
        self.session: Session | None = None
        self.earlier_steps: EarlierSteps | None = None
        self.backoff = Backoff(limits.backoff_first_s, limits.backoff_max_s)  # of its Opens
        # A separate backoff that acks do not reset: otherwise two processes with one producer id would fence each other
        # at full speed.
        self.fenced = Backoff(limits.backoff_first_s, limits.backoff_max_s)
        self.before_open = Pause()
        self.before_call = Pause()
        self.is_refused = False  # the service has refused its stream, and a retry alone will not help
        self.opens = 0
        self.reconnects = position.reconnects
        self.missing_runs = 0  # how often in a row the service did not know the run
        self.server = position.server
        self.complete = False  # everything was read, and nothing more will be written
        self.at_end = False  # everything was read that has been written so far
        self._limits = limits
        self._held: deque[Record] = deque()  # records that wait until the producer is past a hole
        self._damage_seen = 0
        self._changed = True
        self._saved_s = 0.0
        self._finished_s: float | None = None

    @property
    def id(self) -> str:
        """The id of the journal."""
        return self.journal.id

    @property
    def address(self) -> str:
        """The address of the service."""
        return self.endpoint.address

    # Reading. Called by the transport's thread.

    def room(self, journals: int) -> int:
        """How many bytes may be read now, if this many journals share the buffer; none if 0 or less."""
        limits = self._limits
        share = max(limits.journal_least_bytes, min(limits.journal_bytes, limits.buffer_bytes // max(1, journals)))
        if self._held or self.calls.waiting_bytes >= limits.call_bytes:
            return 0
        return min(_READ_BYTES, share - self.producer.buffered_bytes)

    def read_records(self, max_bytes: int, check_writer: bool) -> tuple[list[Record], bool]:
        """The next records, and whether the journal is complete: it has a FINISH, or, if `check_writer`, its writer was
        found to be dead. Called without the lock. Raises OSError."""
        records = self.journal.read(max_bytes)
        return records, not records and (self.journal.finished or (check_writer and self.journal.is_complete()))

    def take(self, records: list[Record], complete: bool) -> None:
        """Accepts what `read_records` returned."""
        self.at_end = not records
        self.complete = complete
        self._held.extend(records)
        self.take_held()
        if complete and not self._held and not self.calls.has_finish and not self.writer_may_live:
            self._writer_died()
        self._report_damage()

    def take_held(self) -> None:
        """Processes the records that were read, until the producer meets a hole."""
        while self._held and not self.producer.at_hole:
            record = self._held.popleft()
            self.settled.expect(record.sequence)
            try:
                self._take(record)
            except ValueError as error:
                # The checksum is right and the content is wrong: a bug of the writer. It can never be sent.
                self.settled.settle(record.sequence)
                self.notices.add_limited(
                    "record",
                    "record %d of the journal cannot be read and is skipped, because of a bug in runstream (%s)",
                    record.sequence,
                    error,
                )
        self._check_settled()

    def _take(self, record: Record) -> None:
        kind, payload = record.kind, record.payload
        if kind is RecordType.BATCH:
            number, points, oldest_unix_us, *columns = decode_batch(payload)
            self.producer.take(Batch(record.sequence, number, points, oldest_unix_us, *columns))
        elif kind is RecordType.CREATE:
            self.calls.create_record(record.sequence)
        elif kind is RecordType.PARAMS:
            self.calls.put("LogParams", record.sequence, _texts(payload))
        elif kind is RecordType.TAGS:
            self.calls.put("SetTags", record.sequence, _texts(payload))
        elif kind is RecordType.FINISH:
            end = decode_json(payload)
            ends_run, ended = bool(end.get("ends_run")), int(end.get("end_time_unix_us") or 0)
            self.calls.finish(record.sequence, str(end.get("status")), ended, ends_run)
            self.retry_now()  # somebody probably waits for it
        else:  # DECLARE: the reader keeps the keys
            self.settled.settle(record.sequence)

    def _writer_died(self) -> None:
        """Ends the run of a process that died without ending it, which would stay RUNNING: it is FAILED since the time
        of its last record. The service ignores the end of an older attempt than it has seen, so a job that was
        restarted with a higher attempt continues. So does one that was restarted with the same attempt, as its journal
        is newer."""
        ends_run = self.creation.ends_run and not self.superseded
        if ends_run:
            self.notices.add("warning", "the process of this run died without finishing it: its end is set to FAILED")
        self.calls.finish(0, "FAILED", self._last_write_unix_us(), ends_run)
        self._check_settled()

    def _last_write_unix_us(self) -> int:
        try:
            last_s = max(file.stat().st_mtime for file in self.path.glob("*.seg")) if self.path else time.time()
        except (OSError, ValueError):  # there is no segment any more
            last_s = time.time()
        return int(last_s * 1e6)

    def _report_damage(self) -> None:
        for damage in self.journal.damage[self._damage_seen :][:_MAX_REPORTED_DAMAGE]:
            level = "info" if damage.torn else "error"
            self.notices.add(
                level,
                "the journal is damaged: %s, %d bytes at %d (%s)%s",
                damage.file,
                damage.length,
                damage.offset,
                damage.what,
                f"; a copy of them is in {damage.quarantined}" if damage.quarantined else "",
            )
        self._damage_seen = len(self.journal.damage)

    # Called by the stream.

    def wants_stream(self, now_s: float) -> bool:
        """Whether its producer should be open on a stream now."""
        has_work = self.producer.unacked or not (self.complete or self.calls.has_finish)
        is_ready = self.calls.state == "created" and self.producer.may_open
        return is_ready and has_work and self.before_open.is_over(now_s)

    def opening(self, index: int, now_s: float) -> tuple[bytes, int]:
        """Begins a session on a stream; returns the producer's id and `first_unacked` for its Open."""
        producer, first_unacked = self.producer.opening()
        self.session = Session(index, producer, now_s)
        return producer, first_unacked

    def opened(self, committed: int) -> bool:
        """Notes that the service has opened the producer; returns False if another Open is needed."""
        assert self.session is not None
        # This tests the writer's lock file while the transport's lock is held: the file is local, and Opens are rare.
        whole = self.at_end and not self.complete and not self._held and self.journal.writer_alive()
        if self.replaced or not self.producer.opened(committed, whole):
            return False
        self.session.opened = True
        self.is_refused = False
        self.opens += 1
        self.reconnects += self.opens > 1
        self.missing_runs = 0
        self.backoff.reset()
        self.notices.connected()
        self._after_progress()
        return True

    @property
    def replaced(self) -> bool:
        """Whether the producer on the stream was replaced by one with another id and other numbers."""
        return self.session is not None and self.session.producer != self.producer.id

    def acknowledged(self, committed: int, refusals: list[tuple[str, int, str]]) -> None:
        """Notes an acknowledgement up to the number `committed`. `refusals`: reason, count and example."""
        if self.replaced:
            return  # everything of the old producer is settled
        self.notices.points_refused(refusals)
        if self.producer.acknowledged(committed, [(reason, count) for reason, count, _ in refusals]):
            self.backoff.reset()
        self._after_progress()

    def left_stream(self) -> None:
        """Notes that the stream has ended, or this producer on it."""
        if self.session is not None:
            if self.session.opened and time.monotonic() - self.session.asked_s > _STABLE_S:
                self.fenced.reset()
            self.session = None
            self.producer.closed()
            self.mark_changed()

    def undeclared(self, batch: Batch) -> list[tuple[int, str]]:
        """The series of a batch that were not declared on this stream yet, as (index, key); they count as declared from
        now on."""
        assert self.session is not None
        declared, keys = self.session.declared, self.journal.keys
        if len(declared) >= len(keys):
            return []  # so for most batches nothing is done for each point
        fresh = sorted(set(memoryview(batch.series_index).cast("I")) - declared)
        declared.update(fresh)
        # If a DECLARE is damaged, the key is unknown: the service refuses and counts the points of an empty key.
        return [(index, keys.get(index, "")) for index in fresh]

    def _after_progress(self) -> None:
        self.take_held()
        self.mark_changed()

    def _check_settled(self) -> None:
        self.calls.points_settled(not self.producer.unacked and not self._held)

    # Called by the calls of the run.

    def _run_refused(self, reason: str) -> None:
        self.producer.refuse(reason)
        if reason == "run_not_found":
            self.notices.add_once(
                "not found",
                "the service has no run %s; what was logged for it is refused and counted",
                self.creation.run_id,
            )
            self._after_progress()
            return
        self.notices.add_once(
            "deleted",
            "the run was deleted; its points are refused and counted from now on. After Client.restore_run(), points "
            "are accepted again within a minute; those that were refused until then are lost",
        )
        self._after_progress()

    def _run_accepted(self) -> None:
        if self.producer.refusing:
            self.producer.accept()
            self.notices.add(
                "warning",
                "the run was restored; its points are accepted again. %d were refused in between",
                self.settled.refused.get("run_deleted", 0),
            )
        self.mark_changed()

    def retry_now(self) -> None:
        """Asks the service again at once, even for what it has refused, as somebody waits."""
        self.before_open.retry_now()
        self.before_call.retry_now()
        self.calls.retry_now()
        self.mark_changed()

    def _on_event(self, event: Event, count: int) -> None:
        if event is Event.LOST:
            self.notices.add(
                "warning",
                "the service's database was restored to an older state: %d points that it had acknowledged are lost "
                "(stats().lost_acknowledged has the sum); continuing under a new producer id",
                count,
            )
        elif event is Event.FOREIGN:
            self.notices.add(
                "warning",
                "another process streams under this run's producer id (is this process a copy of it?): the service has "
                "stored batch %d, which is not in this journal. Nothing is lost; continuing under a new producer id",
                count,
            )
        else:
            self.notices.add(
                "error", "%d batches are missing in the journal, which is damaged; the others are sent", count
            )

    # The position.

    def mark_changed(self) -> None:
        """Notes that something changed that the position contains."""
        self._changed = True

    def about(self) -> str:
        """Run and rank, for the log."""
        return f"run {self.creation.run_id} rank {self.creation.rank}"

    @property
    def unsaved(self) -> bool:
        """Whether the position has changed since it was saved."""
        # Records also settle when they are read, if the service has said before that it has them.
        settled = self.settled.records != self.position.records
        return settled or self._changed or self.notices.changed or not self.producer.id_is_saved

    @property
    def drained(self) -> bool:
        """Whether everything that was written so far is settled."""
        return self.at_end and not self._held and not self.settled.open_records

    @property
    def over(self) -> bool:
        """Whether everything is settled, the end included, and nothing more will be written."""
        return self.calls.finished and self.drained

    def position_to_save(self, now_s: float) -> tuple[Position, bool] | None:
        """The position to save now, and whether it must be durable; None if nothing has to be saved yet."""
        durable = not self.producer.id_is_saved
        wait_s = self._limits.save_s if self.settled.open_records == 0 else self._limits.save_busy_s
        if not durable and (not self.unsaved or now_s - self._saved_s < wait_s):
            return None
        self._changed = self.notices.changed = False
        self._saved_s = now_s
        self.position = self._position()
        return self.position, durable

    def _position(self) -> Position:
        settled, producer, calls = self.settled, self.producer, self.calls
        return Position(
            records=settled.records,
            acknowledged_points=settled.acknowledged_points,
            refused=dict(settled.refused),
            lost_acknowledged=producer.lost_acknowledged,
            producer=producer.id.hex(),
            producer_first_batch=producer.first,
            run_id=self.creation.run_id if calls.state == "created" or self.position.run_id else "",
            run_name=calls.run_name,
            run_state=calls.state or self.position.run_state,
            finished=calls.finished,
            end_refused=calls.end_refused,
            connected=self.session is not None and self.session.opened,
            reconnects=self.reconnects,
            server=self.server,
            last_error=self.notices.last_error,
            notices=self.notices.texts(),
            agent_pid=os.getpid(),
            updated_unix_us=time.time_ns() // 1000,
        )

    def store(self, position: Position, durable: bool) -> None:
        """Saves a position. Called without the lock. Raises OSError."""
        if self.path is None:
            self._save(position)
            return
        position.save(self.path, durable=durable)

    def release(self, position: Position) -> None:
        """Makes the position durable and deletes the segments that it settles. Called without the lock. Raises
        OSError."""
        reader = self.journal
        if isinstance(reader, JournalReader) and self.path is not None and reader.can_delete(position.records + 1):
            position.save(self.path, durable=True)
            reader.delete_before(position.records + 1)

    @property
    def is_stuck(self) -> bool:
        """Whether nothing more will be written, and the service refuses what is left: only a person can change that."""
        return (self.complete or self.calls.has_finish) and (self.is_refused or self.calls.state == "refused")

    def may_be_deleted(self, now_s: float) -> bool:
        """Whether its directory may be deleted: everything is settled, and the writer has had time to read that, or is
        gone."""
        if not self.over:
            self._finished_s = None
            return False
        if self._finished_s is None:
            self._finished_s = now_s
        return now_s - self._finished_s >= self._limits.linger_s or not self.journal.writer_alive()


def _texts(payload: bytes | memoryview) -> dict[str, str]:
    entries = decode_json(payload)
    return {str(key): str(value) for key, value in entries.items()}
