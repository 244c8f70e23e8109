"""Holds params and tags until they are written to the journal. If a tag is set several times before that, only its
newest value is written.
"""

from __future__ import annotations

from collections.abc import Mapping

from runstream import _params_tags
from runstream._run_logger import RunLogger
from runstream._threads import RLock

_ENTRY_MEMORY = 300  # bytes that the objects around a waiting entry take


class WaitingEntries:
    """The params and tags of one handle that wait. Any thread adds; the recorder's thread takes. Bound: `max_bytes`;
    what does not fit is refused and reported."""

    def __init__(self, max_bytes: int, logger: RunLogger) -> None:
        self._lock = RLock()
        self._max_bytes = max_bytes
        self._logger = logger
        self._waiting: dict[str, dict[str, str]] = {"param": {}, "tag": {}}
        self._bytes = 0

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def put(self, kind: str, entries: Mapping[str, str]) -> None:
        """Adds the params or tags for which there is room, and reports the others. `kind` is "param" or "tag"."""
        full: list[str] = []
        changed: list[str] = []
        with self._lock:
            waiting = self._waiting[kind]
            for key, value in entries.items():
                old = waiting.get(key)
                if old is not None and kind == "param":
                    if old != value:
                        changed.append(key)
                    continue
                more = len(value) - len(old) if old is not None else len(key) + len(value) + _ENTRY_MEMORY
                if self._bytes + more > self._max_bytes:
                    full.append(key)
                    continue
                self._bytes += more
                waiting[key] = value
        if changed:
            self._logger.params_changed(changed)
        if full:
            self._logger.entries_full(kind, full, self._max_bytes)

    def take(self) -> list[tuple[str, dict[str, str]]]:
        """Removes and returns everything that waits, as (kind, entries) for one record each."""
        with self._lock:
            if not self._bytes:
                return []
            taken, self._waiting = self._waiting, {"param": {}, "tag": {}}
            self._bytes = 0
        return [
            (kind, piece)
            for kind, entries in taken.items()
            for piece in _params_tags.split(entries, _params_tags.RECORD_BYTES)
        ]
