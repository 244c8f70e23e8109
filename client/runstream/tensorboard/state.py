"""The state of a follower: runs, files, and how far each file was read and sent.

Every change is one transaction, which is on disk when the method returns. Only one process can open a state at a time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from runstream.journal import Position
from runstream.journal.locks import FileLock

_VERSION = 1
_SCHEMA = """
CREATE TABLE runs (
    run_id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    start_time_unix_us INTEGER NOT NULL,
    last_time_unix_us INTEGER NOT NULL,  -- of the latest point
    end_time_unix_us INTEGER             -- as it was sent to the service; NULL: not yet
) STRICT;
CREATE TABLE files (
    file_id INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,           -- below the followed directory
    head BLOB NOT NULL,                  -- the first bytes, by which a renamed file is recognised
    run_id TEXT NOT NULL REFERENCES runs,
    rank INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    journal TEXT NOT NULL,               -- id of the journal, and of its first producer
    end_offset INTEGER NOT NULL,         -- read up to here
    last_sequence INTEGER NOT NULL,      -- of the journal's records
    last_batch INTEGER NOT NULL,
    position TEXT NOT NULL,              -- as JSON
    problem TEXT NOT NULL,               -- what is damaged; empty: nothing
    failed INTEGER NOT NULL              -- 1: it cannot be followed any more
) STRICT;
CREATE TABLE keys (
    file_id INTEGER NOT NULL REFERENCES files,
    key_index INTEGER NOT NULL,
    key TEXT NOT NULL,
    last_step INTEGER NOT NULL,          -- the highest one
    PRIMARY KEY (file_id, key_index)
) STRICT, WITHOUT ROWID;
CREATE TABLE records (                   -- that the service may not have
    file_id INTEGER NOT NULL REFERENCES files,
    sequence INTEGER NOT NULL,
    kind INTEGER NOT NULL,               -- a RecordType
    batch INTEGER NOT NULL,              -- of a BATCH: its number, where the record of its first point begins, how many
    start INTEGER NOT NULL,              -- points of that record come before it, and how many points it has
    skip INTEGER NOT NULL,
    points INTEGER NOT NULL,
    payload TEXT NOT NULL,               -- of the others
    PRIMARY KEY (file_id, sequence)
) STRICT, WITHOUT ROWID;
"""


class StateInUse(Exception):
    """Another process follows the same directory."""


class JournalRecord(NamedTuple):
    """A row of `records`."""

    sequence: int
    kind: int
    batch: int = 0
    start: int = 0
    skip: int = 0
    points: int = 0
    payload: str = ""


@dataclass
class FileState:
    """A row of `files`."""

    file_id: int
    path: str
    head: bytes
    run_id: str
    rank: int
    attempt: int
    journal: str
    end_offset: int
    last_sequence: int
    last_batch: int
    position: Position
    problem: str = ""
    failed: bool = False


@dataclass
class RunState:
    """A row of `runs`."""

    run_id: str
    name: str
    start_time_unix_us: int
    last_time_unix_us: int
    end_time_unix_us: int | None


class State:
    """The database. May be used from several threads. Every method raises OSError if the database cannot be read or
    written."""

    def __init__(self, directory: Path) -> None:
        """Opens the state in a directory, which is made if need be. Raises StateInUse if another process has it."""
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = FileLock.acquire(directory / "lock")
        if lock is None:
            raise StateInUse(
                f"another process already follows this LOGDIR, with the state in {directory}; end it first"
            )
        self.path = directory
        self._file_lock = lock
        self._lock = threading.RLock()
        with _as_os_error(directory):
            self._db = sqlite3.connect(directory / "state.db", isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > _VERSION:
            raise OSError(f"the state in {directory} was written by a newer release of runstream; update this one")
        if version == 0:
            with self._transaction() as db:
                for statement in _SCHEMA.split(";\n"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {_VERSION}")

    def close(self) -> None:
        """Closes the database, so that another process can open it."""
        self._db.close()
        self._file_lock.release()

    # Runs.

    def runs(self) -> list[RunState]:
        """All runs."""
        with self._reading() as db:
            return [RunState(*row) for row in db.execute("SELECT * FROM runs")]

    def add_run(self, run: RunState) -> None:
        """Adds a run."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO runs VALUES (?, ?, ?, ?, ?)",
                (run.run_id, run.name, run.start_time_unix_us, run.last_time_unix_us, run.end_time_unix_us),
            )

    def run_ended(self, run_id: str, end_time_unix_us: int) -> None:
        """Notes that the service has the end of a run."""
        with self._transaction() as db:
            db.execute("UPDATE runs SET end_time_unix_us = ? WHERE run_id = ?", (end_time_unix_us, run_id))

    # Files.

    def files(self) -> list[FileState]:
        """All files."""
        with self._reading() as db:
            return [_file(row) for row in db.execute("SELECT * FROM files")]

    def add_file(self, file: FileState, records: Iterable[JournalRecord]) -> None:
        """Adds a file, with the first records of its journal. Sets `file.file_id`."""
        with self._transaction() as db:
            cursor = db.execute(
                "INSERT INTO files VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', 0)",
                (
                    file.path,
                    file.head,
                    file.run_id,
                    file.rank,
                    file.attempt,
                    file.journal,
                    file.end_offset,
                    file.last_sequence,
                    file.last_batch,
                    _encode(file.position),
                ),
            )
            assert cursor.lastrowid is not None
            file.file_id = cursor.lastrowid
            _insert_records(db, file.file_id, records)

    def forget_file(self, file_id: int) -> None:
        """Deletes a file, as another one has its path."""
        with self._transaction() as db:
            for table in ("records", "keys", "files"):
                db.execute(f"DELETE FROM {table} WHERE file_id = ?", (file_id,))  # noqa: S608 (names of our own)

    def moved(self, file_id: int, path: str) -> None:
        """Changes the path of a file that was renamed."""
        with self._transaction() as db:
            db.execute("UPDATE files SET path = ? WHERE file_id = ?", (path, file_id))

    def set_problem(self, file_id: int, problem: str) -> None:
        """Sets the description of what is damaged in a file."""
        with self._transaction() as db:
            db.execute("UPDATE files SET problem = ? WHERE file_id = ?", (problem, file_id))

    def fail(self, file: FileState) -> None:
        """Notes that a file cannot be followed any more; records after its `last_sequence` cannot be read again."""
        with self._transaction() as db:
            values = (file.last_sequence, file.problem, file.file_id)
            db.execute("UPDATE files SET failed = 1, last_sequence = ?, problem = ? WHERE file_id = ?", values)
            db.execute("DELETE FROM records WHERE file_id = ? AND sequence > ?", (file.file_id, file.last_sequence))

    def keys(self, file_id: int) -> list[str]:
        """The keys of a file, by index."""
        with self._reading() as db:
            query = "SELECT key FROM keys WHERE file_id = ? ORDER BY key_index"
            return [row[0] for row in db.execute(query, (file_id,))]

    def last_step(self, file_ids: Sequence[int], key: str | None = None) -> int | None:
        """The highest step in these files: of this key, or of all; None without points."""
        steps = []
        with self._reading() as db:
            for file_id in file_ids:
                query = "SELECT max(last_step) FROM keys WHERE file_id = ? AND (? IS NULL OR key = ?)"
                steps += [row[0] for row in db.execute(query, (file_id, key, key)) if row[0] is not None]
        return max(steps, default=None)

    def advance(
        self,
        file: FileState,
        records: Sequence[JournalRecord],
        new_keys: Sequence[str],
        last_steps: Mapping[int, int],
        last_time_unix_us: int | None,
    ) -> None:
        """Notes that a file was read up to its `end_offset`, and divided into these records. `new_keys` follow the keys
        that it has already; `last_steps` are the highest steps by key index."""
        with self._transaction() as db:
            _insert_records(db, file.file_id, records)
            if new_keys:
                first = db.execute("SELECT count(*) FROM keys WHERE file_id = ?", (file.file_id,)).fetchone()[0]
                db.executemany(
                    "INSERT INTO keys VALUES (?, ?, ?, ?)",
                    [(file.file_id, index, key, last_steps[index]) for index, key in enumerate(new_keys, first)],
                )
            db.executemany(
                "UPDATE keys SET last_step = max(last_step, ?) WHERE file_id = ? AND key_index = ?",
                [(step, file.file_id, index) for index, step in last_steps.items()],
            )
            db.execute(
                "UPDATE files SET end_offset = ?, last_sequence = ?, last_batch = ?, problem = ? WHERE file_id = ?",
                (file.end_offset, file.last_sequence, file.last_batch, file.problem, file.file_id),
            )
            if last_time_unix_us is not None:
                db.execute(
                    "UPDATE runs SET last_time_unix_us = max(last_time_unix_us, ?) WHERE run_id = ?",
                    (last_time_unix_us, file.run_id),
                )

    # The journal of a file.

    def records(self, file_id: int) -> list[JournalRecord]:
        """The records that may not be settled, in their order."""
        with self._reading() as db:
            query = (
                "SELECT sequence, kind, batch, start, skip, points, payload FROM records WHERE file_id = ? "
                "ORDER BY sequence"
            )
            return [JournalRecord(*row) for row in db.execute(query, (file_id,))]

    def save_position(self, file_id: int, position: Position) -> None:
        """Saves how far a file was sent; the records up to there are deleted."""
        with self._transaction() as db:
            db.execute("UPDATE files SET position = ? WHERE file_id = ?", (_encode(position), file_id))
            db.execute("DELETE FROM records WHERE file_id = ? AND sequence <= ?", (file_id, position.records))

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _as_os_error(self.path):
            yield self._db

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _as_os_error(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise


@contextlib.contextmanager
def _as_os_error(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise OSError(f"the state in {path} cannot be used: {error}") from error


def _insert_records(db: sqlite3.Connection, file_id: int, records: Iterable[JournalRecord]) -> None:
    db.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [(file_id, *record) for record in records])


def _encode(position: Position) -> str:
    values = {**position._asdict(), "refused": dict(position.refused), "notices": []}
    return json.dumps(values, separators=(",", ":"))


def _file(row: Sequence[object]) -> FileState:
    *before, position, problem, failed = row
    values = json.loads(str(position))
    known = {name: value for name, value in values.items() if name in Position._fields}
    return FileState(*before, Position(**{**known, "notices": ()}), str(problem), bool(failed))  # type: ignore[arg-type, call-arg]


def default_directory(root: Path, logdir: Path, address: str, workspace: str, experiment: str) -> Path:
    """The directory of the state for this LOGDIR, address, workspace and experiment, below that of the journals."""
    names = "\0".join((os.path.realpath(logdir), address, workspace, experiment))
    return root / "tensorboard" / f"{logdir.name or 'root'}-{hashlib.sha256(names.encode()).hexdigest()[:12]}"
