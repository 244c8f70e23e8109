"""The caller of an RPC, which the interceptor puts in place."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import grpc

from runstream_service.auth.authenticator import Credentials
from runstream_service.auth.credentials import token_of
from runstream_service.core.caller import Caller
from runstream_service.sharing.current import work_for

# As over HTTP, where MLflow's clients choose the name of the second one.
_AUTHORIZATION = "authorization"
_WORKSPACE = "x-mlflow-workspace"

_CALLER: ContextVar[Caller] = ContextVar("caller")


def set_caller(caller: Caller) -> None:
    """Notes who made the call that this task serves."""
    _CALLER.set(caller)
    work_for(caller.workspace_id)


def known_caller() -> Caller | None:
    """Who made the call that this task serves, if that was found out."""
    return _CALLER.get(None)


def caller_of(_context: grpc.aio.ServicerContext[Any, Any]) -> Caller:
    """Who made the call that this task serves."""
    return _CALLER.get()


def credentials_of(context: grpc.aio.ServicerContext[Any, Any]) -> Credentials:
    """What the call's metadata say about its caller."""
    found = {key: value for key, value in context.invocation_metadata() or () if key in (_AUTHORIZATION, _WORKSPACE)}
    return Credentials(token_of(_text(found.get(_AUTHORIZATION))), _text(found.get(_WORKSPACE)))


def _text(value: str | bytes | None) -> str:
    return value if isinstance(value, str) else ""
