"""What a request's scope says of its caller, which http/authentication.py puts in place, and of its end."""

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

    NOTHING = "nobody was asked"
    BEARER = "a token in a header that no browser adds unasked"
    BASIC = "a password, which browsers remember and add unasked"
    COOKIE = "a session, which browsers add unasked"


def set_caller(scope: Scope, caller: Caller, proof: Proof = Proof.NOTHING) -> None:
    """Notes who sent the request."""
    scope[_CALLER] = caller
    scope[_PROOF] = proof
    work_for(caller.workspace_id)


def known_caller_of(scope: Scope) -> Caller | None:
    """Who sent the request, if that was found out."""
    return scope.get(_CALLER)


def set_error(scope: Scope, error: Exception) -> None:
    """Notes with which error the request ended, for http/authentication.py."""
    scope[_ERROR] = error


def set_recheck(scope: Scope, recheck: Callable[[], Awaitable[Caller]]) -> None:
    """Notes how to find out whether the caller may still come in, for answers that last."""
    scope[_RECHECK] = recheck


async def recheck(scope: Scope) -> None:
    """Looks again at what showed who sent the request. Raises what authentication raises."""
    if (check := scope.get(_RECHECK)) is not None:
        await check()


def set_lasting(scope: Scope) -> None:
    """Notes that the answer goes on as long as somebody reads it: its duration says nothing."""
    scope[_LASTING] = True


def is_lasting(scope: Scope) -> bool:
    """Whether it does."""
    return _LASTING in scope


def error_of(scope: Scope) -> Exception | None:
    """With which error the request ended, if it was one."""
    return scope.get(_ERROR)


def caller_of(request: HTTPConnection) -> Caller:
    """Who sent the request. Raises KeyError on a public path, which nobody is asked for."""
    caller: Caller = request.scope[_CALLER]
    return caller


def proof_of(scope: Scope) -> Proof:
    """What showed that."""
    proof: Proof = scope.get(_PROOF, Proof.NOTHING)
    return proof
