"""Markers that flush() and finish() put behind all rows that were logged before, to learn when these are stored."""

from __future__ import annotations

from runstream._buffer import Marker
from runstream._journal_store import Journal
from runstream.journal.format import encode_json


class FlushMarker(Marker):
    """A marker that knows, once it is reached, up to which records everything before it is in the journals."""

    def __init__(self) -> None:
        self.reached = False
        self.records: list[tuple[Journal, int]] = []  # the last sequence in each journal; empty: nothing was written


class EndMarker(FlushMarker):
    """The last marker of a handle. If the handle ends the run (`ends_run`), status and time are those of the run."""

    def __init__(self, status: str, end_time_unix_us: int, ends_run: bool) -> None:
        super().__init__()
        self._record = {"status": status, "end_time_unix_us": end_time_unix_us, "ends_run": ends_run}

    def payload(self) -> bytes:
        """The payload of the FINISH record."""
        return encode_json(self._record)
