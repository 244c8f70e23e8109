"""Where the handles of this process have their journals, and who brings these to the service: an agent, which is
started if none runs, or else a thread of this process. Only the recorder's thread uses it.
"""

from __future__ import annotations

import contextlib
import json
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

_AGENT_S = 1.0  # how often to see to it that an agent runs while something is not settled...
_IDLE_AGENT_S = 10.0  # ...and while nothing is: it also keeps the run alive
_FULL_S = 1.0  # how often to look whether the directory has reached its limit


class Journal:
    """One journal of a handle: what was appended to it, and what became of that."""

    def __init__(
        self,
        writer: JournalWriter | MemoryJournal,
        position_of: Callable[[str], Position | None] = lambda journal_id: None,
    ) -> None:
        """`position_of` returns the position of a journal in memory."""
        self.declared = 0  # series that have a DECLARE
        self.batches = 0
        self.points = 0
        self.position = Position()
        self.deleted = False
        self._writer = writer
        self._position_of = position_of
        self._synced = 0  # every record with this sequence or a lower one is on disk
        self._sync_failed = False
        self._unsynced_since_s: float | None = None  # by the monotonic clock
        self._calls: deque[tuple[int, int]] = deque()  # sequence and entries of records that are answered one by one
        self._stamp = (0, 0)
        self._noticed = 0  # the number of the last notice of the agent that was logged

    @property
    def sequence(self) -> int:
        """The sequence of the last record."""
        return self._writer.sequence

    @property
    def in_memory(self) -> bool:
        """Whether it ends with this process."""
        return isinstance(self._writer, MemoryJournal)

    @property
    def path(self) -> str:
        """Its directory; empty if it is in memory."""
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
        """Appends a record. Raises OSError if it is not in the journal."""
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
        """Appends a BATCH."""
        self.append(RecordType.BATCH, payload)
        self.batches += 1
        self.points += points

    def append_call(self, kind: RecordType, payload: Payload, entries: int) -> None:
        """Appends a record with params, tags, or the end of the run."""
        self.append(kind, payload)
        self._calls.append((self.sequence, entries))

    def pending_calls(self) -> int:
        """How many params, tags and ends of the run in it are not answered."""
        with contextlib.suppress(RuntimeError, IndexError):  # another thread changes it: count again the next time
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
        """Since when something is not on disk that the service does not have, by the monotonic clock; None if it has
        everything."""
        if self._unsynced_since_s is None or self.synced_up_to(self.sequence):
            self._unsynced_since_s = None
        return self._unsynced_since_s

    def sync(self) -> None:
        """Returns when everything is on disk. Raises OSError; then the journal is not usable any more."""
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
        """Level and text of what the agent reports and was not returned before."""
        fresh = [one for one in self.position.notices if one["n"] > self._noticed]
        self._noticed = max([self._noticed, *(one["n"] for one in fresh)])
        return [(one["level"], one["text"]) for one in fresh]

    def close(self) -> None:
        """Frees file and lock: the agent may delete it when it is done."""
        self._writer.close()

    def abandon_in_child(self) -> None:
        """In a forked child: the journal is the parent's."""
        self._writer.abandon_in_child()


class JournalStore:
    """The journal directory of the handles with the same settings, and its agent."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._directory: Directory | None = None
        self._in_memory = ""  # why there is no directory
        self._carrier = _carriers.carrier_for(settings)
        self._next_agent_s = 0.0
        self._looked_s = 0.0
        self._agent_stays = False
        self.full = False  # new points are refused

    @property
    def path(self) -> str:
        """Of the directory; empty if there is none (yet)."""
        return str(self._directory.path) if self._directory is not None else ""

    @property
    def agent_outlives_job(self) -> bool:
        """Whether an operator's agent continues when the job has ended, so that the journal is enough."""
        return not self._in_memory and (self._settings.agent == "external" or self._agent_stays)

    @property
    def may_send_from_memory(self) -> bool:
        """Whether a thread of this process may send while the disk takes nothing. An operator's agent (`external`) may
        have rights that this process has not."""
        return self._settings.mode == "online" and self._settings.agent != "external"

    def create(self, record: dict[str, Any]) -> Journal:
        """A new journal with this CREATE record: on disk, or in memory if there is no usable directory. Raises
        OSError."""
        directory = self._choose_directory()
        if directory is None:
            return self.create_in_memory(record)
        try:
            return Journal(self._writer(directory, record))
        except FileNotFoundError:
            directory.make()  # somebody has deleted it
            return Journal(self._writer(directory, record))

    def create_in_memory(self, record: dict[str, Any]) -> Journal:
        """A new journal in memory, from which a thread of this process sends. OSError if there is none."""
        memory = MemoryJournal(record, self._settings.max_bytes)
        self._carrier.add(memory, self._settings.endpoint)
        return Journal(memory, self._carrier.position)

    def delete(self, journal: Journal) -> None:
        """Deletes a journal in which everything is settled. Raises OSError."""
        if self._directory is not None and journal.path:
            self._directory.delete_journal(Path(journal.path))

    def _writer(self, directory: Directory, record: dict[str, Any]) -> JournalWriter:
        # First: the agent deletes credentials that no journal names, after a while.
        credentials = StoredCredentials(directory.credentials_path).save(self._settings.endpoint)
        return JournalWriter.create(directory, {**record, FIELD: credentials} if credentials else record)

    def _choose_directory(self) -> Directory | None:
        if self._directory is None and not self._in_memory:
            try:
                self._directory = Directory.choose(dict(self._settings.directory_environ))
            except OSError as error:
                self._in_memory = str(error)
                warn_about_process(
                    "%s. Points wait in memory only, and are lost when this process dies before they are sent", error
                )
            else:
                if self._directory.warning:
                    warn_about_process("%s", self._directory.warning)
        return self._directory

    def appended(self) -> None:
        """Tells the carrier that something was appended."""
        if self._directory is not None:
            self._directory.ring_bell()
        self._carrier.appended()

    def maintain(self, now_s: float, *, unsettled: bool) -> None:
        """Makes sure, now and then, that the journals are brought to the service; checks the directory's limit."""
        if self._directory is None:
            return
        if now_s >= self._looked_s + _FULL_S:
            self._looked_s = now_s
            self.full = self._directory.is_full()
            if self.full:
                self._report_full()
        if now_s >= self._next_agent_s or (unsettled and now_s >= self._next_agent_s - _IDLE_AGENT_S + _AGENT_S):
            self._next_agent_s = now_s + _IDLE_AGENT_S
            self._carrier.ensure(self._directory)
            self._agent_stays = _stays(self._directory)

    def stop(self) -> None:
        """The process ends. Called by its main thread, when nothing is recorded any more."""
        self._carrier.stop()

    def abandon_in_child(self) -> None:
        """In a forked child."""
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
    """Whether the agent that runs says that it continues when there is nothing to do: an operator has started it."""
    try:
        status = json.loads(directory.agent_status_path.read_bytes())
        return bool(status["stays"]) and status["pid"] == directory.agent_pid() and directory.agent_runs()
    except (OSError, ValueError, KeyError, TypeError):
        return False
