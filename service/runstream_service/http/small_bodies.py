"""Bodies of the requests of the service's own pages: forms, and the one JSON object of `runstream login`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request

from runstream_service.errors.core import InvalidField

T = TypeVar("T")

# A token has 44 characters.
_MAX_BYTES = 16_384


async def read_form(request: Request) -> Mapping[str, str]:
    """The fields of a form; empty if the body is longer than any form of these pages, or is not a form."""
    body = await _read(request)
    try:
        return {} if body is None else dict(parse_qsl(body.decode(), max_num_fields=10))
    except ValueError:
        return {}


async def read_object(request: Request, kind: type[T]) -> T:
    """The JSON object in the body, as a msgspec struct. Raises InvalidField."""
    # Needed for security: a browser sends other types to a foreign server without asking it first.
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise InvalidField(f"content-type: is {content_type[:80]!r}; send application/json", field="content-type")
    body = await _read(request)
    if body is None:
        raise InvalidField(f"body: has more than {_MAX_BYTES:,} bytes", field="body")
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise InvalidField(f"body: {error}", field="body") from error


async def _read(request: Request) -> bytes | None:
    """The body; None if it is longer than _MAX_BYTES. Raises ClientDisconnect."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MAX_BYTES:
            return None
    return bytes(body)
