"""The beginning of an event file that belongs to no run yet: when it begins, and with which step of which key."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from runstream.tensorboard.chunks import read_chunk
from runstream.tensorboard.events import Contents, EventReader


class Peek:
    """Reads on with every `look`."""

    def __init__(self, path: Path, head: bytes, begun_s: float) -> None:
        self.path = path
        self.head = head
        self.earlier: dict[int, int] = {}  # sizes of earlier files of its run and rank when it was met, by file_id
        self.begun_s = begun_s
        self.time_unix_us = 0  # of its first event that says anything
        self.key: str | None = None  # of its first scalar
        self.step = 0
        self.restarted_at: int | None = None
        self.is_empty = True  # nothing was found that is to be brought to the service
        self._offset = 0
        self._size = -1

    def look(self) -> None:
        """Reads on, until the first scalar. Raises OSError."""
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
