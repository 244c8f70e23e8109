"""What is stored in the scope of a request: its caller (by http/authentication.py), and how it ends."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from starlette.requests import HTTPConnection
from starlette.types import Scope

from runstream_service.sharing.current import work_for

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller

_CALLER = "runstream.caller"
_PROOF = "runstream.proof"
_ERROR = "runstream.error"
_RECHECK = "runstream.recheck"
_LASTING = "runstream.lasting"


class Proof(enum.Enum):
    """What showed who sent a request. It decides what http/origin_check.py has to check."""

    NOTHING = "no credentials were needed"
    BEARER = "a token in a header, which no browser adds automatically"
    BASIC = "a password, which browsers remember and add automatically"
    COOKIE = "a session, which browsers add automatically"


def set_caller(scope: Scope, caller: Caller, proof: Proof = Proof.NOTHING) -> None:
    """Stores who sent the request."""
    scope[_CALLER] = caller
    scope[_PROOF] = proof
    work_for(caller.workspace_id)


def known_caller_of(scope: Scope) -> Caller | None:
    """Who sent the request; None if it was not authenticated."""
    return scope.get(_CALLER)


def set_error(scope: Scope, error: Exception) -> None:
    """Stores the error with which the request ended, for http/authentication.py."""
    scope[_ERROR] = error


def set_recheck(scope: Scope, recheck: Callable[[], Awaitable[Caller]]) -> None:
    """Stores how to authenticate the caller again, for responses that last for hours."""
    scope[_RECHECK] = recheck


async def recheck(scope: Scope) -> None:
    """Authenticates the caller of a request again. Raises what authentication raises."""
    if (check := scope.get(_RECHECK)) is not None:
        await check()


def set_lasting(scope: Scope) -> None:
    """Stores that the response lasts as long as somebody reads it, so that its duration is not measured."""
    scope[_LASTING] = True


def is_lasting(scope: Scope) -> bool:
    """Whether the response lasts as long as somebody reads it."""
    return _LASTING in scope


def error_of(scope: Scope) -> Exception | None:
    """The error with which the request ended; None if there was none."""
    return scope.get(_ERROR)


def caller_of(request: HTTPConnection) -> Caller:
    """Who sent the request. Raises KeyError on a public path, where callers are not authenticated."""
    caller: Caller = request.scope[_CALLER]
    return caller


def proof_of(scope: Scope) -> Proof:
    """What showed who sent the request."""
    proof: Proof = scope.get(_PROOF, Proof.NOTHING)
    return proof
