"""An object -> a response with its JSON, compressed if that is worth it."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response

from runstream_service.concurrency import threads

# Below this size, compression takes longer than it saves on the network.
_GZIP_BYTES = 16_384
# Bodies up to this size are encoded on the event loop, within a millisecond.
_SHORT_VALUES, _SHORT_CHARACTERS = 500, 65_536


def json_response(body: Mapping[str, Any], *, status: int = 200, accept_encoding: str = "") -> Response:
    """A JSON response, compressed if `accept_encoding`, the header of the request, allows that and it is worth it."""
    data = orjson.dumps(body)
    if len(data) >= _GZIP_BYTES and "gzip" in accept_encoding:
        packed = gzip.compress(data, compresslevel=1)
        return Response(
            packed, status, {"content-encoding": "gzip", "vary": "accept-encoding"}, media_type="application/json"
        )
    return Response(data, status, media_type="application/json")


async def json_response_in_thread_if_long(
    body: Mapping[str, Any], *, status: int = 200, accept_encoding: str = ""
) -> Response:
    """A JSON response as by `json_response`; a long one is encoded in a thread."""
    if _is_short(body):
        return json_response(body, status=status, accept_encoding=accept_encoding)
    return await threads.READS.run(json_response, body, status=status, accept_encoding=accept_encoding)


def _is_short(body: object) -> bool:
    """Whether a body has few values and no long text; it looks at _SHORT_VALUES values at most."""
    waiting, characters = [body], 0
    for _ in range(_SHORT_VALUES):
        if not waiting:
            return True
        value = waiting.pop()
        if isinstance(value, dict | list):
            if len(value) > _SHORT_VALUES:
                return False
            waiting += value.values() if isinstance(value, dict) else value
        elif isinstance(value, str):
            characters += len(value)
            if characters > _SHORT_CHARACTERS:
                return False
    return not waiting
