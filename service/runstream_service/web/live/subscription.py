"""One page that follows runs: what waits to be sent to it."""

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

# A page that reads nothing for some ten seconds, or is sent more than this, begins again.
MAX_EVENTS = 64
MAX_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Event:
    """One or several events, encoded but for the id and the end of the last; `cursor` is that of the run's tail
    afterwards, if it moves."""

    data: bytes
    run_id: str = ""
    cursor: bytes = b""


RESET = Event(b"event: reset\ndata: {}\n")


class Subscription:
    """`put` by feeds, `next` by the stream."""

    def __init__(self, runs: Sequence[str]) -> None:
        self.runs = runs
        self.cursors: dict[str, bytes] = {}
        self.resets = 0
        self._events: collections.deque[Event] = collections.deque()
        self._bytes = 0
        self._error: CoreError | None = None
        self._wake = asyncio.Event()

    def put(self, event: Event) -> None:
        """Sends an event after those that wait. If they are too many, the page begins again instead."""
        if len(self._events) >= MAX_EVENTS or self._bytes + len(event.data) > MAX_BYTES:
            self.reset()
        self._append(event)

    def reset(self) -> None:
        """Tells the page to ask for everything again; what waits for it is in what it then gets."""
        for event in self._events:
            self._pass(event)
        self._events.clear()
        self._bytes = 0
        self.resets += 1
        self._append(RESET)

    def end(self, error: CoreError) -> None:
        """Ends the stream. What waits is not sent, but is after the last position, so nothing is lost."""
        self._error = self._error or error
        self._wake.set()

    def move(self, run_id: str, cursor: bytes) -> None:
        """Notes how far a run has been read without any event, unless there are some that wait."""
        if not any(event.run_id == run_id for event in self._events):
            self.cursors[run_id] = cursor

    async def next(self, within_s: float) -> bytes:
        """All events that wait, or nothing if none came in time. Raises the error that ended the stream."""
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
            self._pass(event)
            parts += [event.data, b"id: ", self.position(), b"\n\n"]
        self._bytes = 0
        return b"".join(parts)

    def position(self) -> bytes:
        """What the page says if it reconnects now."""
        return position.encode(self.cursors).encode()

    def _append(self, event: Event) -> None:
        self._events.append(event)
        self._bytes += len(event.data)
        self._wake.set()

    def _pass(self, event: Event) -> None:
        if event.cursor:
            self.cursors[event.run_id] = event.cursor
