"""What a request's scope says of its caller, which http/authentication.py puts in place, and of its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import HTTPConnection
from starlette.types import Scope

from runstream_service.sharing.current import work_for

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller

_KEY = "runstream.caller"
_ERROR = "runstream.error"


def set_caller(scope: Scope, caller: Caller) -> None:
    """Notes who sent the request."""
    scope[_KEY] = caller
    work_for(caller.workspace_id)


def known_caller_of(scope: Scope) -> Caller | None:
    """Who sent the request, if that was found out."""
    return scope.get(_KEY)


def set_error(scope: Scope, error: Exception) -> None:
    """Notes with which error the request ended, for http/authentication.py."""
    scope[_ERROR] = error


def error_of(scope: Scope) -> Exception | None:
    """With which error the request ended, if it was one."""
    return scope.get(_ERROR)


def caller_of(request: HTTPConnection) -> Caller:
    """Who sent the request. Raises KeyError on a public path, which nobody is asked for."""
    caller: Caller = request.scope[_KEY]
    return caller
