"""A line of the table in routes.py."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from runstream_service.core.caller import Caller, Role
from runstream_service.web.binary import Arrays
from runstream_service.web.request import Message

# A JSON object, arrays, or a complete response.
Answer = Mapping[str, Any] | Arrays | Response
Handler = Callable[[Caller, Any], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class WebRoute:
    """A route below /web/api/ whose handler takes a message. `role` is what its callers need. `lasts`: the response
    lasts as long as somebody reads it, so it has no time limit."""

    method: str
    path: str
    role: Role
    message: type[Message]
    handler: Handler
    lasts: bool = False
