"""The caller of an HTTP request, which http/authentication.py puts in place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import HTTPConnection
from starlette.types import Scope

from runstream_service.sharing.current import work_for

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller

_KEY = "runstream.caller"


def set_caller(scope: Scope, caller: Caller) -> None:
    """Notes who sent the request."""
    scope[_KEY] = caller
    work_for(caller.workspace_id)


def caller_of(request: HTTPConnection) -> Caller:
    """Who sent the request. Raises KeyError on a public path, which nobody is asked for."""
    caller: Caller = request.scope[_KEY]
    return caller
