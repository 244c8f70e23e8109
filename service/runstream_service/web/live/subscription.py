"""One page that watches runs: the events that wait to be sent to it."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream_service.concurrency.deadlines import with_timeout
from runstream_service.web.live import position

if TYPE_CHECKING:
    from runstream_service.errors.core import CoreError

# Bounds of what waits for a page that does not read, about ten seconds of events. Above them, it has to read everything
# again.
MAX_EVENTS = 64
MAX_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Event:
    """One or several events, encoded except for the id and the end of the last one. `cursor` is where the tail of the
    run is after them; empty if they do not move it."""

    data: bytes
    run_id: str = ""
    cursor: bytes = b""


RESET = Event(b"event: reset\ndata: {}\n")


class Subscription:
    """The queue of one page. Feeds and the hub `put` events, the page's stream takes them with `next`."""

    def __init__(self, runs: Sequence[str]) -> None:
        self.runs = runs
        self.cursors: dict[str, bytes] = {}
        self.resets = 0
        self._events: collections.deque[Event] = collections.deque()
        self._bytes = 0
        self._error: CoreError | None = None
        self._wake = asyncio.Event()

    def put(self, event: Event) -> None:
        """Adds an event. If too many wait, they are dropped, and the page is asked to read everything again."""
        if len(self._events) >= MAX_EVENTS or self._bytes + len(event.data) > MAX_BYTES:
            self.reset()
        self._append(event)

    def reset(self) -> None:
        """Asks the page to read everything again. Events that wait are dropped, since the page then reads them as
        well."""
        for event in self._events:
            self._move_past(event)
        self._events.clear()
        self._bytes = 0
        self.resets += 1
        self._append(RESET)

    def end(self, error: CoreError) -> None:
        """Ends the stream. Events that wait are not sent; the page gets them when it reconnects with its position."""
        self._error = self._error or error
        self._wake.set()

    def move(self, run_id: str, cursor: bytes) -> None:
        """Stores that the tail of a run has moved without an event, unless events of that run wait."""
        if not any(event.run_id == run_id for event in self._events):
            self.cursors[run_id] = cursor

    async def next(self, within_s: float) -> bytes:
        """All events that wait, encoded; empty if there was none for `within_s` seconds. Raises the error that ended
        the stream."""
        try:
            await with_timeout(self._wake.wait(), within_s)
        except TimeoutError:
            return b""
        if self._error is not None:
            raise self._error
        self._wake.clear()
        parts = []
        while self._events:
            event = self._events.popleft()
            self._move_past(event)
            parts += [event.data, b"id: ", self.position(), b"\n\n"]
        self._bytes = 0
        return b"".join(parts)

    def position(self) -> bytes:
        """The last event id of the page: what it sends if it reconnects now."""
        return position.encode(self.cursors).encode()

    def _append(self, event: Event) -> None:
        self._events.append(event)
        self._bytes += len(event.data)
        self._wake.set()

    def _move_past(self, event: Event) -> None:
        if event.cursor:
            self.cursors[event.run_id] = event.cursor
