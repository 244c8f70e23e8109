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
    """A number of slots for streams of one kind."""

    def __init__(self, count: int, streams: str) -> None:
        """`streams`: what they are called in the error, as in 12 tails."""
        self._streams = streams
        self._held = SharedCapacity(count)

    @contextlib.contextmanager
    def slot(self, caller: Caller) -> Iterator[None]:
        """A block for which the caller has a slot. Raises Overloaded if none is free for their workspace."""
        if not self._held.try_take(caller.workspace_id):
            raise Overloaded(
                f"{self._held.held} {self._streams} are open, {self._held.held_by(caller.workspace_id)} of them in "
                f"workspace {caller.workspace!r}; this replica takes {self._held.capacity:,}",
                retry_after_s=5.0,
            )
        try:
            yield
        finally:
            self._held.release(caller.workspace_id)
