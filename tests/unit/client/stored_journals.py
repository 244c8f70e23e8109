"""Agent and service in one, in this process: what is in the journals of a directory counts as stored at once. It uses
the same files as the real agent, and refuses, waits and reports as a test tells it to."""

from __future__ import annotations

import contextlib
import threading
import time
import types
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runstream.journal import Directory, Position, Record, RecordType
from runstream.journal.format import decode_batch, decode_json
from runstream.journal.layout import WRITER_LOCK
from runstream.journal.locks import FileLock, is_locked
from runstream.journal.reader import JournalReader

Point = tuple[str, int, int, float, int, int]  # key, step, time, value, rank, attempt


@dataclass
class StoredRun:
    """A run as the service would store it."""

    experiment: str
    name: str
    status: str = "RUNNING"
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class _Journal:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.reader = JournalReader(path)
        self.position = types.SimpleNamespace(**{**Position(agent_pid=1)._asdict(), "notices": []})
        self.saved: Position | None = None
        self.notices = 0


class TestAgent:
    """Stores what it finds until `stop`. Tests read `runs` and `points`, and set the other attributes."""

    __test__ = False

    def __init__(self, directory: Path) -> None:
        self.directory = Directory(directory)
        self.directory.make()
        self.lock = threading.Condition()
        self.runs: dict[str, StoredRun] = {}
        self.points: list[Point] = []
        self.creates: list[dict[str, Any]] = []
        self.records: list[tuple[str, RecordType, Any]] = []  # journal, type, JSON or points of each
        self.held = False  # nothing is stored: the service is away
        self.refuse_keys: set[str] = set()
        self.run_state = "created"  # what it reports of all runs
        self.other_run_id = ""  # the run that a derived id leads to; empty: its own
        self.end_refused = False
        self.last_error = ""
        self._journals: dict[str, _Journal] = {}
        self._stopped = False
        self._error: BaseException | None = None
        lock = self.directory.agent_lock()
        assert lock is not None, "another agent runs"
        self._agent_lock: FileLock = lock
        self._thread = threading.Thread(target=self._run, name="test-agent", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; raises the exception that it met, if any."""
        with self.lock:
            self._stopped = True
            self.lock.notify_all()
        self._thread.join()
        self._agent_lock.release()
        if self._error is not None:
            raise self._error

    def wait_for(self, condition: Callable[[], bool], timeout: float = 20.0) -> None:
        """Waits until the condition holds; looks whenever something was stored."""
        with self.lock:
            assert self.lock.wait_for(condition, timeout), f"{len(self.points)} points, {self.runs}, {self._error}"

    def values(self, key: str) -> list[float]:
        """Returns the values of a key in the order in which they were stored."""
        with self.lock:
            return [point[3] for point in self.points if point[0] == key]

    def status(self, run_id: str) -> str:
        """Returns the status of a run; empty if there is no such run."""
        with self.lock:
            return self.runs[run_id].status if run_id in self.runs else ""

    def report(self, level: str, text: str) -> None:
        """Adds a notice to the position of every journal."""
        with self.lock:
            for journal in self._journals.values():
                journal.notices += 1
                journal.position.notices.append({"n": journal.notices, "level": level, "text": text})

    def _run(self) -> None:
        try:
            while not self._stopped:
                with self.lock:
                    self._once()
                    self.lock.notify_all()
                    self.lock.wait(0.003)
        except BaseException as error:
            self._error = error

    def _once(self) -> None:
        for path in self.directory.journals():
            if path.name not in self._journals:
                with contextlib.suppress(FileNotFoundError):
                    self._journals[path.name] = _Journal(path)
        for name, journal in list(self._journals.items()):
            if not journal.path.is_dir():
                del self._journals[name]
            else:
                self._serve(journal)

    def _serve(self, journal: _Journal) -> None:
        position = journal.position
        if not self.held:
            position.run_state = self.run_state
        position.last_error = self.last_error
        position.connected = not self.held
        if not self.held and self.run_state != "refused":
            for record in journal.reader.read(1 << 20):
                self._store(journal, record)
                position.records = record.sequence
        now = Position(**{**vars(position), "notices": tuple(position.notices)})
        if journal.saved != now:
            journal.saved = now
            with contextlib.suppress(FileNotFoundError):
                now._replace(updated_unix_us=time.time_ns() // 1000).save(journal.path, durable=False)
        if position.finished and not is_locked(journal.path / WRITER_LOCK):
            self.directory.delete_journal(journal.path)

    def _store(self, journal: _Journal, record: Record) -> None:
        position, create = journal.position, journal.reader.create
        payload: Any = None if record.kind in (RecordType.BATCH, RecordType.DECLARE) else decode_json(record.payload)
        if record.kind is RecordType.CREATE:
            run_id = self.other_run_id if self.other_run_id and create["derived"] else create["run_id"]
            position.run_id = run_id
            self.creates.append(create)
            self.runs.setdefault(run_id, StoredRun(create["experiment"] or "Default", create["name"]))
        run = self.runs[position.run_id]
        if record.kind is RecordType.PARAMS:
            run.params |= payload
        elif record.kind is RecordType.TAGS:
            run.tags |= payload
        elif record.kind is RecordType.FINISH:
            position.finished = True
            position.end_refused = self.end_refused
            if payload["ends_run"] and not self.end_refused:
                run.status = payload["status"]
        elif record.kind is RecordType.BATCH:
            payload = self._store_batch(journal, record)
        self.records.append((journal.path.name, record.kind, payload))

    def _store_batch(self, journal: _Journal, record: Record) -> int:
        position, create = journal.position, journal.reader.create
        batch = decode_batch(record.payload)
        refused: Counter[str] = Counter(position.refused)
        raw = (batch.series_index, batch.step, batch.time_unix_us, batch.value)
        columns = (array(kind, bytes(column)) for column, kind in zip(raw, "Iqqd", strict=True))
        for index, step, time_us, value in zip(*columns, strict=True):
            key = journal.reader.keys[index]
            if self.run_state == "deleted":
                refused["run_deleted"] += 1
            elif key in self.refuse_keys:
                refused["key_too_long"] += 1
            else:
                position.acknowledged_points += 1
                self.points.append((key, step, time_us, value, create["rank"], create["attempt"]))
        position.refused = dict(refused)
        return batch.point_count
