"""Limits the memory that the bodies of all requests take together."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.types import Message

from runstream_service.errors.core import Overloaded

# Enough for two of the longest bodies, or 500 batches of 1,000 metrics. A decoded body takes several times as much
# memory, but only one big body is decoded at a time.
MAX_BYTES = 96 << 20


class Bodies:
    """Counts the bytes of all bodies as they arrive. A body for which there is no room is refused at once: bodies that
    wait for each other's memory could wait forever."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0

    @contextlib.asynccontextmanager
    async def counted(self, request: Request) -> AsyncIterator[Request]:
        """The request, with its body counted until the end of the block. Reading the body raises Overloaded if there is
        no room for it."""
        taken = 0

        async def receive() -> Message:
            nonlocal taken
            message = await request.receive()
            size = len(message.get("body", b""))
            if size and self._bytes + size > self._max_bytes:
                raise Overloaded("This replica has no room for the request's body: others fill its memory. Try again.")
            taken += size
            self._bytes += size
            return message

        try:
            yield Request(request.scope, receive)
        finally:
            self._bytes -= taken
