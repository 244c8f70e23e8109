"""How long the steps of something that has to end in time may take."""

from __future__ import annotations

import time


class Deadline:
    """A moment that is some seconds away, by the monotonic clock."""

    def __init__(self, within_s: float) -> None:
        self._at = time.monotonic() + within_s

    def left_s(self) -> float:
        """Seconds left; never negative."""
        return max(0.0, self._at - time.monotonic())

    def share(self, part: float) -> float:
        """A part of the seconds that are left, for one step; the next one gets its part of what that leaves."""
        return self.left_s() * part
