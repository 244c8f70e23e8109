"""A pause before something is tried again."""

from __future__ import annotations


class Pause:
    """A wait, by the monotonic clock. `retry_now` shortens it to what the service asked for."""

    def __init__(self) -> None:
        self.until_s = 0.0
        self._asked_until_s = 0.0

    def begin(self, now_s: float, wait_s: float, asked_s: float | None = None) -> None:
        """Begins a wait of `wait_s`, of which the service asked for `asked_s` (RetryInfo)."""
        self.until_s = now_s + wait_s
        self._asked_until_s = now_s + (asked_s or 0.0)

    def retry_now(self) -> None:
        """Ends the wait, or shortens it to what the service asked for."""
        self.until_s = min(self.until_s, self._asked_until_s)

    def is_over(self, now_s: float) -> bool:
        """Whether the next try may begin."""
        return now_s >= self.until_s
