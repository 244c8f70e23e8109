"""Waits before trying again: exponential, with jitter, and never shorter than the service asked for."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

# Not the functions of the module `random`: a training script that sets their seed expects the same numbers every time.
RANDOM = random.SystemRandom()


class Backoff:
    """The waits between the tries of one action: `first_s` seconds, doubled after each failure, at most `max_s`.

    `jitter` is the part of each wait that is random: with 0.9, the default, a wait is 10 to 100 % of that; with 0 it
    is exactly that, for what happens on one machine alone.
    """

    def __init__(self, first_s: float, max_s: float, *, jitter: float = 0.9) -> None:
        self._first_s = first_s
        self._max_s = max_s
        self._least_part = 1.0 - jitter
        self._failures = 0
        self._asked_s = 0.0  # the last wait that the service asked for

    def reset(self) -> None:
        """Notes that the action succeeded: the next failure counts as the first."""
        self._failures = 0

    def next_s(self, retry_after_s: float | None = None, at_least_s: float = 0.0) -> float:
        """The wait in seconds before the next try: at least `retry_after_s`, which the service asked for, and
        `at_least_s`. Jitter keeps thousands of ranks from coming back at the same moment."""
        ceiling = min(self._max_s, self._first_s * 2 ** min(self._failures, 30))
        self._failures += 1
        self._asked_s = retry_after_s or 0.0
        least = max(retry_after_s or 0.0, at_least_s)
        return float(least + RANDOM.uniform(self._least_part, 1.0) * ceiling)

    def wait(
        self, changed: threading.Condition, seconds: float, stopping: Callable[[], bool], retry_now: Callable[[], bool]
    ) -> None:
        """Waits on the condition `changed`, which the caller holds, for at most `seconds`. Once `retry_now()` is true,
        it only waits as long as the service asked for; once `stopping()` is true, not at all."""
        begun = time.monotonic()
        changed.wait_for(lambda: stopping() or retry_now(), seconds)
        left = begun + min(seconds, self._asked_s) - time.monotonic()
        changed.wait_for(stopping, max(0.0, left))
