"""Slots for uploads. Each upload holds parts of a file in memory, so their number is bounded."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator

from runstream_service.errors.core import Overloaded
from runstream_service.sharing.slots import FairSlots

# How long a further upload waits for a slot. It is not read meanwhile, so TCP makes its client wait.
WAIT_S = 10.0
# While this many wait, further uploads are refused at once.
MAX_WAITING = 256
# An upload that sends less than this many bytes in this time (2 KiB/s) has to give its slot to one that waits.
SLOW_BYTES, SLOW_S = 64 << 10, 30.0


class Uploads:
    """Assigns slots to uploads. Times are in seconds."""

    def __init__(
        self, slots: int, *, wait_s: float = WAIT_S, slow_s: float = SLOW_S, max_waiting: int = MAX_WAITING
    ) -> None:
        self._slots = FairSlots("uploads", slots, max_waiting=max_waiting)
        self._wait_s = wait_s
        self.slow_s = slow_s

    @contextlib.asynccontextmanager
    async def slot(self) -> AsyncIterator[Upload]:
        """A slot until the end of the block. Raises Overloaded if there is none within `wait_s`."""
        async with self._slots.slot(wait_s=self._wait_s):
            yield Upload(self)

    @property
    def awaited(self) -> bool:
        """Whether somebody waits for a slot."""
        return self._slots.waiting > 0


class Upload:
    """An upload that has a slot. It keeps the slot while its data arrives, or while nobody else waits."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads
        self._bytes = 0
        self._since = time.monotonic()

    async def watched(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The chunks without empty ones, which mean that nothing has arrived for some seconds.

        Raises:
            Overloaded: they arrive so slowly that this upload has to give its slot to another one.
        """
        async for chunk in chunks:
            self._count(len(chunk))
            if self._uploads.awaited and time.monotonic() - self._since > self._uploads.slow_s:
                raise Overloaded(
                    "The upload was too slow while others were waiting, so it was ended to make room for them. The "
                    "file was not stored; try again."
                )
            if chunk:
                yield chunk

    def _count(self, received: int) -> None:
        self._bytes += received
        if self._bytes >= SLOW_BYTES:
            self._bytes, self._since = 0, time.monotonic()
