"""Bounds the memory of large responses that are sent to slow clients."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from runstream_service.errors.core import Overloaded
from runstream_service.sharing.capacity import SharedCapacity
from runstream_service.sharing.current import current_workspace

# Enough for six of the largest charts. Responses below LARGE_BYTES do not count.
MAX_BYTES = 256 << 20
LARGE_BYTES = 1 << 20
_PIECE_BYTES = 256 << 10


class LargeAnswers:
    """Counts the bytes of large responses until they are sent."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._bytes = SharedCapacity(max_bytes)

    def response(self, data: bytes, headers: Mapping[str, str]) -> Response:
        """A response with this body. Raises Overloaded if it is large and there is no room for it."""
        if len(data) < LARGE_BYTES:
            return Response(data, headers=headers)
        workspace_id = current_workspace()
        if not self._bytes.try_take(workspace_id, len(data)):
            raise Overloaded("This replica has no room for the chart: others fill its memory. Try again.")
        return _LargeResponse(data, headers, self._bytes, workspace_id)


class _LargeResponse(Response):
    """Sends its body in pieces, each when the client has read the earlier ones."""

    def __init__(self, data: bytes, headers: Mapping[str, str], held: SharedCapacity, workspace_id: int) -> None:
        super().__init__(data, headers=headers)
        self._held = held
        self._workspace_id = workspace_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            view = memoryview(self.body)
            for start in range(0, len(view), _PIECE_BYTES):
                piece = bytes(view[start : start + _PIECE_BYTES])
                more = start + _PIECE_BYTES < len(view)
                await send({"type": "http.response.body", "body": piece, "more_body": more})
        finally:
            self._held.release(self._workspace_id, len(self.body))
