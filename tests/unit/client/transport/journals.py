"""Writes journals as a trainer does, for tests of the transport."""

from __future__ import annotations

import time
import uuid
from array import array
from pathlib import Path
from typing import Any

from runstream.journal import Directory, JournalWriter, MemoryJournal, Position, RecordType
from runstream.journal.format import encode_batch, encode_declare, encode_json


def create_record(address: str, run_id: str = "", **fields: object) -> dict[str, Any]:
    """A CREATE record of rank 0."""
    return {
        "run_id": run_id or uuid.uuid4().hex,
        "derived": False,
        "experiment": "e",
        "name": "n",
        "user": "u",
        "start_time_unix_us": time.time_ns() // 1000,
        "rank": 0,
        "attempt": 0,
        "address": address,
        "age_us": 1_000,
        "time_unix_us": time.time_ns() // 1000,
        "ends_run": True,
        **fields,
    }


class Trainer:
    """The writer of one journal."""

    def __init__(
        self, journal: JournalWriter | MemoryJournal, create: dict[str, Any], directory: Directory | None
    ) -> None:
        self.journal = journal
        self.create = create
        self.directory = directory
        self.keys: dict[str, int] = {}
        self.batches = 0
        self.logged = 0

    @classmethod
    def start(cls, directory: Directory, address: str, run_id: str = "", **fields: object) -> Trainer:
        """Begins a journal on disk."""
        create = create_record(address, run_id, **fields)
        trainer = cls(JournalWriter.create(directory, create), create, directory)
        directory.ring_bell()
        return trainer

    @property
    def run_id(self) -> str:
        """The id of the run, as the CREATE record has it."""
        return str(self.create["run_id"])

    @property
    def path(self) -> Path:
        """The path of the journal."""
        assert self.journal.path is not None
        return self.journal.path

    def log(self, steps: range, key: str = "loss", batch: int = 1_000) -> None:
        """Appends one point for each step; its value is the step."""
        if key not in self.keys:
            self.keys[key] = len(self.keys)
            self._append(RecordType.DECLARE, encode_declare(self.keys[key], [key]))
        for start in range(steps.start, steps.stop, batch):
            part = range(start, min(start + batch, steps.stop))
            self.batches += 1
            now_us = time.time_ns() // 1000
            count = len(part)
            columns = (array("I", [self.keys[key]] * count), array("q", part), array("q", [now_us] * count))
            payload = encode_batch(self.batches, now_us, *columns, array("d", map(float, part)))
            self._append(RecordType.BATCH, payload)
            self.logged += count

    def params(self, **params: str) -> int:
        """Appends a PARAMS record."""
        return self._append(RecordType.PARAMS, encode_json(params))

    def tags(self, **tags: str) -> int:
        """Appends a TAGS record."""
        return self._append(RecordType.TAGS, encode_json(tags))

    def finish(self, status: str = "FINISHED", ends_run: bool = True) -> int:
        """Appends a FINISH record."""
        end = {"status": status, "end_time_unix_us": time.time_ns() // 1000, "ends_run": ends_run}
        return self._append(RecordType.FINISH, encode_json(end))

    def _append(self, kind: RecordType, payload: bytes) -> int:
        sequence = self.journal.append(kind, payload)
        if self.directory is not None:
            self.directory.ring_bell()
        return sequence

    def die(self) -> None:
        """Leaves the journal as a process does that has died: its lock is free."""
        self.journal.close()

    def position(self) -> Position:
        """The position of the agent, as the training process reads it."""
        return Position.load(self.path) or Position()
