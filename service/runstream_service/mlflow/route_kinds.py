"""The kinds of lines of the table in routes.py."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from runstream_service.core.caller import Role
from runstream_service.mlflow.request import Message

Handler = Callable[[Any, Any], Awaitable[Mapping[str, Any]]]
RawHandler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class JsonRoute:
    """A route whose handler takes a message and returns one. `path` is the part after /api/ or /ajax-api/. `role` is
    what its callers need; None: it is public. `status` is the HTTP status of a response without an error."""

    method: str
    path: str
    role: Role | None
    message: type[Message]
    handler: Handler
    status: int = 200


@dataclass(frozen=True, slots=True)
class RawRoute:
    """A route whose handler reads its request and makes its response itself. `path` and `role` are as in JsonRoute, but
    a path that begins with / is complete. `streams`: the handler processes the body as it arrives, instead of having
    all of it in memory."""

    method: str
    path: str
    role: Role | None
    handler: RawHandler
    streams: bool = False
