"""Slots for streams that stay open, shared fairly between workspaces."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from runstream_service.errors.core import Overloaded
from runstream_service.sharing.capacity import SharedCapacity

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller


class StreamSlots:
    """`count` slots for open streams of one kind."""

    def __init__(self, count: int, streams: str) -> None:
        """`streams`: what the streams are called, in the plural, for error messages."""
        self._streams = streams
        self._held = SharedCapacity(count)

    @contextlib.contextmanager
    def slot(self, caller: Caller) -> Iterator[None]:
        """Hold a slot until the end of the block. Raises Overloaded if none is free for the workspace of the caller."""
        if not self._held.try_take(caller.workspace_id):
            raise Overloaded(
                f"{self._held.held} {self._streams} are open, {self._held.held_by(caller.workspace_id)} of them in "
                f"workspace {caller.workspace!r}; this replica takes {self._held.capacity:,}. "
                "Close some, or try again later",
                retry_after_s=5.0,
            )
        try:
            yield
        finally:
            self._held.release(caller.workspace_id)
