"""Follows a directory: finds event files, opens their journals, ends runs that are silent.

A file is checked every half second while it is followed, and every ten seconds once its run was ended because it was
silent. Sizes are compared, which also works on network file systems, where notifications of changes do not.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from runstream._endpoint import Endpoint
from runstream.errors import RunstreamError
from runstream.journal import MemoryJournal, Position, RecordType
from runstream.journal.format import encode_json
from runstream.tensorboard.event_journal import EventJournal, read_head
from runstream.tensorboard.layout import Layout, Place, find_event_files
from runstream.tensorboard.peek import Peek
from runstream.tensorboard.state import FileState, JournalRecord, RunState, State
from runstream.transport.transport import Transport

_CHECK_S, _CHECK_SILENT_S = 0.5, 10.0
_SCAN_S, _LONGEST_SCAN_S = 1.0, 30.0
_SCAN_SHARE = 0.01  # the most of the time for scanning a large tree
_WITHOUT_SCALARS_S = 5.0  # how long to wait for the first scalar of a file that has only something else
_MAX_OPEN, _MAX_OPEN_ONCE = 1_000, 64  # journals open at a time; further files wait
_RUN_IDS = uuid.UUID("6c3f1a52-7e0b-4f7c-9a54-2f3b8a1f5f0e")  # the namespace of derived run ids


class Report(Protocol):
    """The interface for messages."""

    def say(self, text: str) -> None:
        """Reports something that happened."""

    def warn(self, text: str, about: str = "") -> None:
        """Reports something that is wrong, at most once a minute for the same `about`."""


@dataclass
class _File:
    """A file that belongs to a run."""

    state: FileState
    size: int = -1
    changed_s: float = 0.0  # when it grew last, by the monotonic clock
    check_s: float = 0.0  # when to check it next, by the monotonic clock
    ended_size: int = -1  # its size when its journal was ended
    journal: EventJournal | None = None

    @property
    def unsettled(self) -> bool:
        """Whether records were made that the service may not have."""
        return self.state.position.records < self.state.last_sequence


@dataclass
class Totals:
    """Counts for the progress line."""

    points: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    files: int = 0
    runs: int = 0
    waiting_bytes: int = 0
    total_bytes: int = 0


class Follower:
    """Follows one directory; `run_once` is called again and again. All times are by the monotonic clock."""

    def __init__(
        self,
        logdir: Path,
        experiment: str,
        layout: Layout,
        state: State,
        transport: Transport,
        endpoint: Endpoint,
        run_exists: Callable[[str], bool],
        report: Report,
        *,
        once: bool,
        end_after_s: float,
    ) -> None:
        """`run_exists` asks the service whether a run exists, and may raise RunstreamError."""
        self._logdir = logdir
        self._experiment = experiment
        self._place = layout.place
        self._state = state
        self._transport = transport
        self._endpoint = endpoint
        self._run_exists = run_exists
        self._report = report
        self._once = once
        self._end_after_s = end_after_s
        self._files: dict[str, _File] = {}
        self._peeks: dict[str, Peek] = {}  # files that belong to no run yet
        self._left_out: set[str] = set()  # files that a pattern leaves out
        self._foreign: dict[str, str] = {}  # messages for runs that the service has and this state does not, by name
        self._runs = {run.name: run for run in state.runs()}
        self._endings: dict[str, MemoryJournal] = {}  # by name of the run
        self._scan_s = 0.0
        self._scanned = False
        self._settled = Totals()
        for file in state.files():
            self._files[file.path] = _File(file)

    def run_once(self) -> None:
        """Handles what has changed since the last call. Raises OSError, and with `once` RunstreamError."""
        now_s = time.monotonic()
        if now_s >= self._scan_s:
            self._scan(now_s)
            took_s = time.monotonic() - now_s
            self._scan_s = now_s + min(_LONGEST_SCAN_S, max(0.1 if self._once else _SCAN_S, took_s / _SCAN_SHARE))
        grown = False
        for file in list(self._files.values()):
            if now_s >= file.check_s:
                grown |= self._check(file, now_s)
        if grown:
            self._transport.wake()
        self._close_journals()
        self._end_runs(now_s)

    def round_ended(self) -> None:
        """Counts what was sent, after the transport has stopped."""
        self._close_journals()

    @property
    def done(self) -> bool:
        """With `once`: whether everything that was found is settled."""
        if not self._scanned or self._endings or any(not peek.is_empty for peek in self._peeks.values()):
            return False
        return not any(file.journal is not None or self._wants_open(file) for file in self._files.values())

    def problems(self) -> list[str]:
        """What is damaged or was left out, one line each."""
        lines = [
            f"{self._logdir / path}: {file.state.problem}" for path, file in self._files.items() if file.state.problem
        ]
        return [*lines, *self._foreign.values()]

    def totals(self) -> Totals:
        """Counts since the follower began."""
        totals = Totals(self._settled.points, dict(self._settled.refused), len(self._files), len(self._runs))
        for file in self._files.values():
            totals.total_bytes += max(0, file.size)
            totals.waiting_bytes += max(0, file.size - self._end_offset(file))
            if file.journal is not None:
                _count(totals, file.state.position, file.journal.position)
        return totals

    # Files.

    def _scan(self, now_s: float) -> None:
        problems: dict[str, str] = {}
        paths = set(find_event_files(self._logdir, problems))
        for where, why in problems.items():
            self._report.warn(f"{where} cannot be read: {why}", where)
        for path in list(self._peeks):
            if path not in paths:
                del self._peeks[path]
        for path in sorted(paths - self._files.keys(), key=_order):
            try:
                self._meet(path, paths, now_s)
            except FileNotFoundError:  # noqa: PERF203 (each file on its own)
                continue  # it is gone again
            except OSError as error:
                self._report.warn(f"{self._logdir / path} cannot be read: {error.strerror or error}", path)
            except RunstreamError as error:
                if self._once:
                    raise
                self._report.warn(f"the service cannot be reached, so new files wait: {error}", "service")
                return
        self._scanned = True

    def _meet(self, path: str, paths: set[str], now_s: float) -> None:
        """Handles a file at a new path: it was renamed, or is added to a run once enough of it is known."""
        place = self._place(path)
        if place is None:
            if path not in self._left_out:
                self._left_out.add(path)
                self._report.warn(f"{path}: left out, as the pattern of --run-from or --rank-from does not match", path)
            return
        if place.run in self._foreign:
            return
        peek = self._peeks.get(path)
        if peek is None:
            head = read_head(self._logdir / path)
            if not head:
                return  # it has no complete record yet
            if self._was_moved(path, head, paths):
                return
            peek = self._peeks[path] = Peek(self._logdir / path, head, now_s)
        peek.read_on()
        if peek.is_empty:
            return
        waits = peek.key is None and not self._once and now_s - peek.begun_s < _WITHOUT_SCALARS_S
        if not waits and self._is_next(path, place, peek):
            self._add(path, place, peek)

    def _is_next(self, path: str, place: Place, peek: Peek) -> bool:
        """Whether the earlier files of the run and rank were read, as far as they were written when this one was found:
        their steps decide its attempt."""
        for other, waiting in self._peeks.items():
            if not waiting.is_empty and _order(other) < _order(path) and self._place(other) == place:
                return False
        for file in self._files_at(place):
            size = peek.earlier.setdefault(file.state.file_id, _size(self._logdir / file.state.path))
            read_size = file.journal.read_size if file.journal is not None else file.ended_size
            if max(read_size, self._end_offset(file)) < size and not file.state.failed:
                return False
        return True

    def _was_moved(self, path: str, head: bytes, paths: set[str]) -> bool:
        """Whether it is a known file that was renamed, for example with its directory."""
        name = path.rpartition("/")[2]
        for old, file in self._files.items():
            if old not in paths and old.rpartition("/")[2] == name and file.state.head == head:
                self._state.moved(file.state.file_id, path)
                file.state.path = path
                if file.journal is not None:
                    file.journal.path = path
                self._files[path] = self._files.pop(old)
                self._report.say(f"{old} was renamed to {path}; it continues in the same run")
                return True
        return False

    def _files_at(self, place: Place) -> list[_File]:
        """The files of a run and rank."""
        run = self._runs.get(place.run)
        return [
            file
            for file in self._files.values()
            if run is not None and file.state.run_id == run.run_id and file.state.rank == place.rank
        ]

    def _add(self, path: str, place: Place, peek: Peek) -> None:
        run, records = self._runs.get(place.run), [JournalRecord(1, RecordType.CREATE)]
        if run is None:
            run = self._new_run(path, place, peek)
            if run is None:
                return
            directory = path.rpartition("/")[0] or "."
            tags = {"runstream.source": "tensorboard", "tensorboard.directory": directory[:8_000]}
            records.append(JournalRecord(2, RecordType.TAGS, payload=encode_json(tags).decode()))
        attempt = self._attempt(place, peek)
        file = FileState(
            0, path, peek.head, run.run_id, place.rank, attempt, os.urandom(16).hex(), 0, len(records), 0, Position()
        )
        self._state.add_file(file, records)
        self._files[path] = _File(file)
        del self._peeks[path]

    def _new_run(self, path: str, place: Place, peek: Peek) -> RunState | None:
        identity = "\0".join((self._experiment, place.run, path.rpartition("/")[2], peek.head.hex()))
        run_id = uuid.uuid5(_RUN_IDS, identity).hex
        if self._run_exists(run_id):
            self._foreign[place.run] = (
                f"run {place.run!r} ({run_id}) is not imported: the service already has it, and the state in "
                f"{self._state.path} does not know it. If it was imported with another state, pass that as --state; "
                "otherwise choose another --experiment"
            )
            del self._peeks[path]
            self._report.warn(self._foreign[place.run], run_id)
            return None
        run = RunState(run_id, place.run, peek.time_unix_us, peek.time_unix_us, None)
        self._state.add_run(run)
        self._runs[place.run] = run
        self._report.say(f"run {place.run!r}: {run_id}")
        return run

    def _attempt(self, place: Place, peek: Peek) -> int:
        """The attempt of a new file. A trainer that was restarted writes a new file, whose steps begin before the end
        of the earlier one: it is the next attempt, as TensorBoard shows newer steps instead of older ones."""
        earlier = self._files_at(place)
        if not earlier:
            return 0
        attempt = max(file.state.attempt for file in earlier)
        ids = [file.state.file_id for file in earlier]
        if peek.restarted_at is not None:
            last, first = self._state.last_step(ids), peek.restarted_at
        elif peek.key is not None:
            last, first = self._state.last_step(ids, peek.key), peek.step
        else:
            return attempt
        return attempt + (last is not None and first <= last)

    # Journals.

    def _check(self, file: _File, now_s: float) -> bool:
        """Checks the size of a file, opens and ends its journal; returns whether the transport has something to
        read."""
        path = self._logdir / file.state.path
        try:
            status = os.stat(path)
        except OSError:
            size = file.size = max(file.size, 0)  # renamed or deleted, which a scan will find out
            silent_s = now_s - file.changed_s
        else:
            size = status.st_size
            if file.size < 0:
                file.changed_s = now_s - max(0.0, time.time() - status.st_mtime)
            elif size != file.size:
                file.changed_s = now_s
            silent_s = now_s - file.changed_s
        grown, file.size = size != file.size, size
        if file.journal is None:
            if self._wants_open(file) or (not self._once and silent_s < self._end_after_s):
                self._open(file, now_s, ending=self._once or silent_s >= self._end_after_s)
                return file.journal is not None
            file.check_s = now_s + (_CHECK_SILENT_S if silent_s > self._end_after_s else _CHECK_S)
            return False
        file.check_s = now_s + _CHECK_S
        if silent_s >= self._end_after_s and not file.journal.ending:
            file.journal.ending = True
            return True
        return grown and size > self._end_offset(file)

    def _wants_open(self, file: _File) -> bool:
        """Whether the file has something to send."""
        unread = file.size != file.state.end_offset and file.size != file.ended_size and not file.state.failed
        return file.unsettled or unread or file.size < 0

    def _open(self, file: _File, now_s: float, *, ending: bool) -> None:
        is_open = sum(each.journal is not None for each in self._files.values())
        if is_open >= (_MAX_OPEN_ONCE if self._once else _MAX_OPEN):
            return
        run = next(run for run in self._runs.values() if run.run_id == file.state.run_id)
        state = file.state
        create = self._create(run, state.rank, state.attempt, ends_run=False)
        journal = EventJournal(self._logdir, state, self._state, create, self._report.warn)
        journal.ending = ending
        file.journal, file.check_s = journal, now_s + _CHECK_S
        self._transport.add_kept(journal, self._endpoint, journal.position, journal.save)

    def _create(self, run: RunState, rank: int, attempt: int, *, ends_run: bool) -> dict[str, Any]:
        return {
            "run_id": run.run_id,
            "experiment": self._experiment,
            "name": run.name,
            "start_time_unix_us": run.start_time_unix_us,
            "rank": rank,
            "attempt": attempt,
            "address": self._endpoint.address,
            "time_unix_us": time.time_ns() // 1_000,
            "ends_run": ends_run,
        }

    def _close_journals(self) -> None:
        for path, file in list(self._files.items()):
            journal = file.journal
            if journal is None or not journal.closed:
                continue
            _count(self._settled, file.state.position, journal.position)
            file.state = replace(journal.file, path=path, position=journal.position)
            file.journal, file.ended_size = None, file.size
            if journal.replaced:
                self._state.forget_file(file.state.file_id)
                del self._files[path]
                self._scanned, self._scan_s = False, 0.0  # the scan finds the new one

    def _end_offset(self, file: _File) -> int:
        return file.journal.file.end_offset if file.journal is not None else file.state.end_offset

    # The end of runs.

    def _end_runs(self, now_s: float) -> None:
        for name, journal in list(self._endings.items()):
            position = self._transport.position(journal.id)
            if position is not None and position.finished:
                run = self._runs[name]
                run.end_time_unix_us = run.last_time_unix_us
                self._state.run_ended(run.run_id, run.last_time_unix_us)
                del self._endings[name]
                if not self._once:
                    self._report.say(f"run {name!r} ended: nothing more was written")
        if not self._scanned:
            return
        active = {file.state.run_id for file in self._files.values() if self._is_active(file, now_s)}
        begun = [path for path, peek in self._peeks.items() if not peek.is_empty]
        waiting = {place.run for path in begun if (place := self._place(path))}
        candidates = [run for run in self._runs.values() if run.run_id not in active and run.name not in waiting]
        last = {run.run_id: run.last_time_unix_us for run in self._state.runs()} if candidates else {}
        for run in candidates:
            run.last_time_unix_us = last[run.run_id]
            ended = run.end_time_unix_us is not None and run.end_time_unix_us >= run.last_time_unix_us
            if not ended and run.name not in self._endings:
                self._end(run)

    def _is_active(self, file: _File, now_s: float) -> bool:
        silent = self._once or now_s - file.changed_s >= self._end_after_s
        return file.journal is not None or self._wants_open(file) or not silent

    def _end(self, run: RunState) -> None:
        attempts = [file.state.attempt for file in self._files.values() if file.state.run_id == run.run_id]
        journal = MemoryJournal(self._create(run, 0, max(attempts, default=0), ends_run=True))
        end = {"status": "FINISHED", "end_time_unix_us": run.last_time_unix_us, "ends_run": True}
        journal.append(RecordType.FINISH, encode_json(end))
        journal.close()
        self._endings[run.name] = journal
        self._transport.add(journal, self._endpoint)


def _count(totals: Totals, before: Position, after: Position) -> None:
    totals.points += after.acknowledged_points - before.acknowledged_points
    for reason, count in after.refused.items():
        if more := count - before.refused.get(reason, 0):
            totals.refused[reason] = totals.refused.get(reason, 0) + more


def _order(path: str) -> tuple[str, str]:
    """The order of files: by name, as names of event files begin with the time."""
    return path.rpartition("/")[2], path


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
