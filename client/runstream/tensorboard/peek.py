"""Reads the beginning of an event file that belongs to no run yet: its first time, and the step of its first key."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from runstream.tensorboard.chunks import read_chunk
from runstream.tensorboard.events import Contents, EventReader


class Peek:
    """What is known of the beginning of a file; `read_on` is called until that is enough."""

    def __init__(self, path: Path, head: bytes, begun_s: float) -> None:
        self.path = path
        self.head = head
        self.earlier: dict[int, int] = {}  # sizes of earlier files of its run and rank when it was found, by file_id
        self.begun_s = begun_s  # when it was found, by the monotonic clock
        self.time_unix_us = 0  # of its first event with a scalar, param or text
        self.key: str | None = None  # of its first scalar
        self.step = 0  # of its first scalar
        self.restarted_at: int | None = None  # as in Contents
        self.is_empty = True  # nothing was found yet that has to be sent
        self._offset = 0
        self._size = -1

    def read_on(self) -> None:
        """Reads what was added to the file, up to the first scalar. Raises OSError."""
        size = os.stat(self.path).st_size
        if self.key is not None or size == self._size:
            return
        self._size = size
        while self.key is None and self._offset < size:
            reader = EventReader()
            contents = read_chunk(self.path, self._offset, size, reader, 1)
            if not contents.end:
                break
            self._note(contents, reader.keys)
            self._offset += contents.end

    def _note(self, contents: Contents, keys: Sequence[str]) -> None:
        if contents.restarted_at is not None and self.restarted_at is None:
            self.restarted_at = contents.restarted_at
        if contents.is_empty:
            return
        if self.is_empty:
            self.is_empty, self.time_unix_us = False, contents.first_time_unix_us
        if len(contents.points):
            self.key = keys[contents.points.key[0]]
            self.step = contents.points.step[0]
