"""The journals of the handles of this process, the directory that they are in, and what sends them to the service. Only
the recorder's thread uses it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runstream import _carriers
from runstream._run_logger import warn_about_process
from runstream._settings import Settings
from runstream._stored_credentials import FIELD, StoredCredentials
from runstream.journal.directory import Directory
from runstream.journal.format import Payload, RecordType
from runstream.journal.layout import POSITION
from runstream.journal.memory import MemoryJournal
from runstream.journal.position import Position
from runstream.journal.writer import JournalWriter

_AGENT_S = 1.0  # how often to make sure that an agent runs, while something is not settled...
_IDLE_AGENT_S = 10.0  # ...and while everything is: the agent also keeps the run alive
_LIMIT_CHECK_S = 1.0  # how often to check whether the directory has reached its limit


class Journal:
    """One journal of a handle: appends records, and knows what became of them."""

    def __init__(
        self,
        writer: JournalWriter | MemoryJournal,
        position_of: Callable[[str], Position | None] = lambda journal_id: None,
    ) -> None:
        """`position_of` returns the position of a journal in memory."""
        self.declared = 0  # how many series have a DECLARE record
        self.batches = 0  # that were appended
        self.points = 0  # that were appended
        self.position = Position()
        self.deleted = False
        self._writer = writer
        self._position_of = position_of
        self._synced = 0  # every record with this sequence or a lower one is on disk
        self._sync_failed = False
        self._unsynced_since_s: float | None = None  # by the monotonic clock
        self._calls: deque[tuple[int, int]] = deque()  # (sequence, entries) of records with params, tags or the end
        self._stamp = (0, 0)  # of the position file that was read last
        self._last_notice = 0  # the number of the agent's last notice that was returned

    @property
    def sequence(self) -> int:
        """The sequence of the last record."""
        return self._writer.sequence

    @property
    def in_memory(self) -> bool:
        """Whether the journal is in memory, and lost when this process ends."""
        return isinstance(self._writer, MemoryJournal)

    @property
    def path(self) -> str:
        """The journal's directory; empty if it is in memory."""
        return str(self._writer.path or "")

    @property
    def usable(self) -> bool:
        """Whether records can be appended, perhaps after a wait."""
        return not self.deleted and not self._sync_failed

    @property
    def unsettled_points(self) -> int:
        """Points in it that are neither acknowledged nor refused."""
        return self.points - self.position.acknowledged_points - sum(self.position.refused.values())

    def append(self, kind: RecordType, payload: Payload) -> None:
        """Appends a record. Raises OSError if that failed; then nothing of it is in the journal."""
        try:
            self._writer.append(kind, payload)
        except FileNotFoundError:
            self.deleted = True
            raise
        except OSError:
            # A segment is synced before the next one begins. After a failed sync, every append fails.
            self._sync_failed = isinstance(self._writer, JournalWriter) and not self._writer.usable
            raise
        if self._unsynced_since_s is None:
            self._unsynced_since_s = time.monotonic()

    def append_batch(self, payload: Payload, points: int) -> None:
        """Appends a BATCH record, with this many points."""
        self.append(RecordType.BATCH, payload)
        self.batches += 1
        self.points += points

    def append_call(self, kind: RecordType, payload: Payload, entries: int) -> None:
        """Appends a record with this many params or tags, or with the end of the run (one entry)."""
        self.append(kind, payload)
        self._calls.append((self.sequence, entries))

    def pending_calls(self) -> int:
        """How many params, tags and ends of the run in it the service has not answered yet."""
        with contextlib.suppress(RuntimeError, IndexError):  # another thread changes the queue: 0 this time
            while self._calls and self._calls[0][0] <= self.position.records:
                self._calls.popleft()
            return sum(entries for _, entries in list(self._calls))
        return 0

    def settled_up_to(self, sequence: int) -> bool:
        """Whether all records up to this one have their final answer, or are lost."""
        return self.deleted or self.position.records >= sequence

    def synced_up_to(self, sequence: int) -> bool:
        """Whether all records up to this one are on disk, or need not be."""
        return self.in_memory or self._synced >= sequence or self.settled_up_to(sequence)

    def sync_due_s(self) -> float | None:
        """Since when something is neither synced nor at the service, by the monotonic clock; None if nothing is."""
        if self._unsynced_since_s is None or self.synced_up_to(self.sequence):
            self._unsynced_since_s = None
        return self._unsynced_since_s

    def sync(self) -> None:
        """Returns when everything is on disk. After an OSError, the journal is not usable any more."""
        sequence = self.sequence
        try:
            self._writer.sync()
        except OSError:
            self._sync_failed = True
            raise
        finally:
            self._unsynced_since_s = None
        self._synced = sequence

    def poll(self) -> bool:
        """Reads the agent's position if it has changed; returns whether it has."""
        if self.in_memory:
            self.position = self._position_of(self._writer.id) or self.position
            return True
        try:
            status = os.stat(os.path.join(self.path, POSITION))
        except OSError:
            if not os.path.isdir(self.path):
                self.deleted = True
            return self.deleted
        stamp = (status.st_mtime_ns, status.st_ino)
        if stamp == self._stamp:
            return False
        position = Position.load(self._writer.path) if self._writer.path is not None else None
        if position is None:
            return False
        self._stamp, self.position = stamp, position
        return True

    def fresh_notices(self) -> list[tuple[str, str]]:
        """Level and text of the agent's notices that were not returned before."""
        fresh = [one for one in self.position.notices if one["n"] > self._last_notice]
        self._last_notice = max([self._last_notice, *(one["n"] for one in fresh)])
        return [(one["level"], one["text"]) for one in fresh]

    def close(self) -> None:
        """Closes the file and frees the lock: the agent may delete the journal once it is settled."""
        self._writer.close()

    def abandon_in_child(self) -> None:
        """In a forked child: closes what was inherited, as the journal stays the parent's."""
        self._writer.abandon_in_child()


class JournalStore:
    """The journal directory of the handles with the same settings, and what sends its journals."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._directory: Directory | None = None
        self._in_memory = ""  # why no directory can be used, so that journals are in memory; empty: one can
        self._carrier = _carriers.carrier_for(settings)
        self._next_agent_s = 0.0  # when to make sure next that an agent runs, by the monotonic clock
        self._limit_checked_s = 0.0  # by the monotonic clock
        self._agent_stays = False  # the running agent was started by an operator, and does not end when it is idle
        self.full = False  # the directory has reached its limit, so new points are refused

    @property
    def path(self) -> str:
        """The path of the directory; empty if none was chosen yet, or none can be used."""
        return str(self._directory.path) if self._directory is not None else ""

    @property
    def agent_outlives_job(self) -> bool:
        """Whether an operator's agent continues when the job has ended, so that the journal is enough."""
        return not self._in_memory and (self._settings.agent == "external" or self._agent_stays)

    @property
    def may_send_from_memory(self) -> bool:
        """Whether a thread of this process may send while the disk accepts nothing. Not where an operator runs the
        agent (`external`), which may have rights that this process does not have."""
        return self._settings.mode == "online" and self._settings.agent != "external"

    def create(self, record: dict[str, Any]) -> Journal:
        """Makes a journal with this CREATE record: on disk, or in memory if no directory can be used. Raises OSError if
        neither is possible."""
        directory = self._choose_directory()
        if directory is None:
            return self.create_in_memory(record)
        try:
            return Journal(self._writer(directory, record))
        except FileNotFoundError:
            directory.make()  # somebody has deleted the directory
            return Journal(self._writer(directory, record))

    def create_in_memory(self, record: dict[str, Any]) -> Journal:
        """Makes a journal in memory, from which a thread of this process sends. Raises OSError if no thread can be
        started."""
        memory = MemoryJournal(record, self._settings.max_bytes)
        self._carrier.add(memory, self._settings.endpoint)
        return Journal(memory, self._carrier.position)

    def delete(self, journal: Journal) -> None:
        """Deletes a journal in which everything is settled. Raises OSError."""
        if self._directory is not None and journal.path:
            self._directory.delete_journal(Path(journal.path))

    def _writer(self, directory: Directory, record: dict[str, Any]) -> JournalWriter:
        # Before the journal is made, which names them. (The agent deletes unnamed credentials, but only after a while.)
        credentials = StoredCredentials(directory.credentials_path).save(self._settings.endpoint)
        return JournalWriter.create(directory, {**record, FIELD: credentials} if credentials else record)

    def _choose_directory(self) -> Directory | None:
        if self._directory is None and not self._in_memory:
            try:
                self._directory = Directory.choose(dict(self._settings.directory_environ))
            except OSError as error:
                self._in_memory = str(error)
                warn_about_process(
                    "%s. Points are kept in memory only, and are lost if this process dies before they are sent", error
                )
            else:
                if self._directory.warning:
                    warn_about_process("%s", self._directory.warning)
        return self._directory

    def appended(self) -> None:
        """Notifies what sends the journals that something was appended."""
        if self._directory is not None:
            self._directory.ring_bell()
        self._carrier.appended()

    def maintain(self, now_s: float, *, unsettled: bool) -> None:
        """From time to time, makes sure that something sends the journals, and checks the directory's limit."""
        if self._directory is None:
            return
        if now_s >= self._limit_checked_s + _LIMIT_CHECK_S:
            self._limit_checked_s = now_s
            self.full = self._directory.is_full()
            if self.full:
                self._report_full()
        if now_s >= self._next_agent_s or (unsettled and now_s >= self._next_agent_s - _IDLE_AGENT_S + _AGENT_S):
            self._next_agent_s = now_s + _IDLE_AGENT_S
            self._carrier.ensure(self._directory)
            self._agent_stays = _stays(self._directory)

    def stop(self) -> None:
        """Stops what sends the journals from this process. Called by the main thread at the end of the process."""
        self._carrier.stop()

    def abandon_in_child(self) -> None:
        """In a forked child: closes what was inherited, as everything belongs to the parent."""
        self._carrier.abandon_in_child()

    def _report_full(self) -> None:
        assert self._directory is not None
        warn_about_process(
            "the journal directory %s has reached its limit of %d bytes (RUNSTREAM_DIR_BYTES): new points are refused "
            "and counted as journal_full until the agent has sent some. Is the service running? `runstream agent "
            "status` shows what waits",
            self._directory.path,
            self._directory.limit_bytes,
            about="journal full",
        )


def _stays(directory: Directory) -> bool:
    """Whether the running agent says in its status that it does not end when it is idle: an operator has started it."""
    status = directory.read_agent_status()
    return bool(status.get("stays")) and status.get("pid") == directory.agent_pid() and directory.agent_runs()
