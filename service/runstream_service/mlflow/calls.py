"""What a line of the table in routes.py is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from runstream_service.mlflow.request import Message

Handler = Callable[[Any, Any], Awaitable[Mapping[str, Any]]]
RawHandler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Call:
    """A route that takes a message and answers one. `path` is what follows /api/ or /ajax-api/."""

    method: str
    path: str
    message: type[Message]
    handler: Handler


@dataclass(frozen=True, slots=True)
class Raw:
    """A route that reads its request and makes its response itself. `path` as in Call, or whole if it begins with /.
    `streams`: it passes its body on as that comes, instead of having it in memory as a whole."""

    method: str
    path: str
    handler: RawHandler
    streams: bool = False
