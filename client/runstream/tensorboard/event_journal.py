"""One event file, as a journal that the transport sends.

The transport asks for records when it has room, so nothing is read ahead, and nothing is kept in memory. Records are in
the state before they are returned: see the package's docstring.
"""

from __future__ import annotations

import json
import os
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from runstream.journal import Position, Record, RecordType
from runstream.journal.format import MAX_BATCH_POINTS, POINT_BYTES, encode_batch, encode_json
from runstream.journal.reader import Damage as JournalDamage
from runstream.tensorboard.chunks import read_chunk
from runstream.tensorboard.events import Contents, EventReader, Points
from runstream.tensorboard.records import HEADER_BYTES, RecordFramer
from runstream.tensorboard.state import FileState, JournalRecord, State

_HEAD_BYTES = 256
_PROBLEM_CHARACTERS = 2_000


class EventJournal:
    """An event file with the interface of a journal. The transport's thread reads it; another thread may set `ending`,
    and change `path`."""

    def __init__(
        self,
        logdir: Path,
        file: FileState,
        state: State,
        create: dict[str, Any],
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.id = file.journal
        self.create = create
        self.file = file
        self.damage: list[JournalDamage] = []
        self.finished = False  # everything was read, and nothing more will be read
        self.closed = False  # everything is settled
        self.ending = False  # read only what is in the file now
        self.position = file.position._replace(finished=False)
        self._logdir = logdir
        self._state = state
        self._report = report
        self._reader = EventReader(state.keys(file.file_id))
        self.keys = dict(enumerate(self._reader.keys))
        self._again = deque(record for record in state.records(file.file_id) if record.sequence > self.position.records)
        self._inode = 0
        self.path = file.path
        self.read_size = 0  # up to this size, the file has no further complete records
        self.replaced = False  # another file has its name now

    # Called by the transport.

    def read(self, max_bytes: int) -> list[Record]:
        """The next records, about `max_bytes` of them; [] if there is none at the moment."""
        if self.finished:
            return []
        if self.position.records == 0 and self._again and self._again[0].kind == RecordType.CREATE:
            self._again.popleft()
            return [Record(1, RecordType.CREATE, encode_json(self.create))]
        try:
            return self._read_again(max_bytes) if self._again else self._read_more(max_bytes)
        except FileNotFoundError:
            if self.ending:
                self._fail("the file is gone") if self._again else self._finish()
            return []  # if it was renamed, the follower will find it

    def is_complete(self) -> bool:
        """Whether everything was read and nothing more will be read."""
        return self.finished

    def writer_alive(self) -> bool:
        """Whether more may be read."""
        return not self.finished

    def save(self, position: Position) -> None:
        """Saves how far the transport has sent the file."""
        self._state.save_position(self.file.file_id, position)
        self.position = position

    def close(self) -> None:
        """Called by the transport when everything is settled."""
        self.closed = True

    # Reading.

    def _read_again(self, max_bytes: int) -> list[Record]:
        """Records of an earlier process: read again from the same bytes, with the same numbers."""
        records: list[Record] = []
        while self._again and max_bytes > 0:
            row = self._again[0]
            if row.kind == RecordType.BATCH:
                payload = self._batch_again(row)
                if payload is None:
                    self._fail(
                        f"what was read at {row.start} is not there any more: {row.points} points or more are lost"
                    )
                    return records
            else:
                payload = row.payload.encode()
            self._again.popleft()
            records.append(Record(row.sequence, RecordType(row.kind), payload))
            max_bytes -= len(payload)
        return records

    def _batch_again(self, row: JournalRecord) -> bytes | None:
        """The payload of a batch of an earlier process; None if the file does not have these points any more."""
        path, wanted = self._logdir / self.path, row.skip + row.points
        contents = read_chunk(path, row.start, os.stat(path).st_size, self._reader, wanted)
        points = contents.points
        if len(points) < wanted or points.start[0] != 0 or len(self._reader.keys) != len(self.keys):
            return None
        return _encode(row, points, points.times_unix_us(), row.skip)

    def _read_more(self, max_bytes: int) -> list[Record]:
        path = self._logdir / self.path
        status = os.stat(path)
        left = status.st_size - self.file.end_offset
        if (left < 0 or self._inode != status.st_ino) and read_head(path) != self.file.head:
            self.replaced = True
            self._fail("another file has its name now")
            return []
        self._inode = status.st_ino
        if left < 0:
            self._fail(f"it became shorter: {status.st_size} bytes, and {self.file.end_offset} were read")
            return []
        if left == 0:
            self.read_size = status.st_size
            if self.ending:
                self._finish()
            return []
        max_points = max(MAX_BATCH_POINTS, max_bytes // POINT_BYTES)
        contents = read_chunk(path, self.file.end_offset, status.st_size, self._reader, max_points)
        if not contents.end:
            self.read_size = status.st_size
            if self.ending:
                self._judge_rest(left)
                self._finish()
            return []
        return self._take(contents)

    def _take(self, contents: Contents) -> list[Record]:
        """Divides what was read into records, writes them to the state, and returns them."""
        points, known, base = contents.points, len(self.keys), self.file.end_offset
        rows = list(self._rows(contents))
        for damage in contents.damage:
            self._problem(f"damaged from {base + damage.start} to {base + damage.end}: {damage.what}")
        times, new_keys = points.times_unix_us(), self._reader.keys[known:]
        file = replace(
            self.file,
            end_offset=base + contents.end,
            last_sequence=rows[-1].sequence if rows else self.file.last_sequence,
            last_batch=self.file.last_batch + sum(row.kind == RecordType.BATCH for row in rows),
        )
        self._state.advance(file, rows, new_keys, _last_steps(points), max(times, default=None))
        self.file = file  # only when it is in the state: otherwise a chunk would be skipped after an error
        self.keys.update(enumerate(new_keys, known))
        records, at = [], 0
        for row in rows:
            payload = _encode(row, points, times, at) if row.kind == RecordType.BATCH else row.payload.encode()
            at += row.points
            records.append(Record(row.sequence, RecordType(row.kind), payload))
        return records

    def _rows(self, contents: Contents) -> Iterator[JournalRecord]:
        base, starts = self.file.end_offset, contents.points.start
        sequence, batch = self.file.last_sequence, self.file.last_batch
        for at in range(0, len(starts), MAX_BATCH_POINTS):
            sequence, batch = sequence + 1, batch + 1
            count = min(MAX_BATCH_POINTS, len(starts) - at)
            yield JournalRecord(sequence, RecordType.BATCH, batch, base + starts[at], _points_before(starts, at), count)
        for kind, entries in ((RecordType.PARAMS, contents.params), (RecordType.TAGS, contents.texts)):
            for key, value in entries.items():
                sequence += 1
                yield JournalRecord(sequence, kind, payload=json.dumps({key: value}, ensure_ascii=False))

    # The end of the file.

    def _finish(self) -> None:
        self.finished = True

    def _judge_rest(self, left: int) -> None:
        """Reports bytes at the end that are not the beginning of a record. (A kill leaves a half-written record, which
        is not damage.)"""
        with open(self._logdir / self.path, "rb") as file:
            header = os.pread(file.fileno(), HEADER_BYTES, self.file.end_offset)
        if len(header) == HEADER_BYTES and self._reader.framer.needed_bytes(header) == HEADER_BYTES:
            self._problem(f"the last {left} bytes, from {self.file.end_offset} on, are not a record")
            self._state.set_problem(self.file.file_id, self.file.problem)

    def _fail(self, what: str) -> None:
        self._problem(what)
        last = self._again[0].sequence - 1 if self._again else self.file.last_sequence
        self.file = replace(self.file, failed=True, last_sequence=last)
        self._state.fail(self.file)
        self._again.clear()
        self._finish()

    def _problem(self, what: str) -> None:
        if what not in self.file.problem:
            self.file.problem = "; ".join(filter(None, (self.file.problem, what)))[:_PROBLEM_CHARACTERS]
            self._report(f"{self._logdir / self.path}: {what}")


def read_head(path: Path) -> bytes:
    """The first bytes of a file, by which it is recognised: those of its first record, up to 256. Empty if the record
    is not complete yet. Raises OSError."""
    with open(path, "rb") as file:
        data = file.read(_HEAD_BYTES)
    needed = min(_HEAD_BYTES, RecordFramer().needed_bytes(data))
    return data[:needed] if len(data) >= needed else b""


def _points_before(starts: array[int], at: int) -> int:
    """How many points before the point `at` come from the same record."""
    count = 0
    while count < at and starts[at - count - 1] == starts[at]:
        count += 1
    return count


def _last_steps(points: Points) -> dict[int, int]:
    """The highest step of each key, by the key's index."""
    if not len(points):
        return {}
    indexes = np.frombuffer(points.key, np.uint32)
    highest = np.full(int(indexes.max()) + 1, np.iinfo(np.int64).min, np.int64)
    np.maximum.at(highest, indexes, np.frombuffer(points.step, np.int64))
    return {int(index): int(highest[index]) for index in np.unique(indexes)}


def _encode(row: JournalRecord, points: Points, times: array[int], at: int) -> bytes:
    """The payload of a BATCH with the points from `at` on."""
    end = at + row.points
    return encode_batch(
        row.batch,
        time.time_ns() // 1_000,
        points.key[at:end],
        points.step[at:end],
        times[at:end],
        points.value[at:end],
    )
