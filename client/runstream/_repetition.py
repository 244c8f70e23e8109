"""Limits how often the same thing is reported: once, or at most once a minute."""

from __future__ import annotations

import time
from collections.abc import Sequence

_REPEAT_S = 60.0
MAX_KEYS = 1_000  # at most this many different keys are named


class Repetition:
    """Remembers what was reported, and when. Used by one thread, or under its owner's lock."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._refusals: set[str] = set()

    def is_first(self, about: str) -> bool:
        """Whether `about` was never reported; notes that it is reported now."""
        if about in self._last:
            return False
        self._last[about] = time.monotonic()
        return True

    def is_due(self, about: str) -> bool:
        """Whether `about` was not reported within the last minute; notes that it is reported now."""
        now = time.monotonic()
        if now - self._last.get(about, -_REPEAT_S) < _REPEAT_S:
            return False
        self._last[about] = now
        return True

    def is_new(self, refusal: str) -> bool:
        """Whether this refusal was never reported, and fewer than MAX_KEYS others; notes that it is reported now."""
        if refusal in self._refusals or len(self._refusals) >= MAX_KEYS:
            return False
        self._refusals.add(refusal)
        return True


def some(keys: Sequence[str]) -> str:
    """A text with the first five keys, and how many more there are."""
    more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
    return ", ".join(repr(key) for key in keys[:5]) + more
