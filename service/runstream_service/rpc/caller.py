"""The caller of an RPC. The interceptor authenticates the call and stores its caller here."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import grpc

from runstream_service.auth.authenticator import Credentials
from runstream_service.auth.credentials import token_of
from runstream_service.core.caller import Caller
from runstream_service.sharing.current import work_for

# The same names as over HTTP. MLflow's clients send the workspace under the second one.
_AUTHORIZATION = "authorization"
_WORKSPACE = "x-mlflow-workspace"

_CALLER: ContextVar[Caller] = ContextVar("caller")


def set_caller(caller: Caller) -> None:
    """Stores the caller of the call that this task serves."""
    _CALLER.set(caller)
    work_for(caller.workspace_id)


def known_caller() -> Caller | None:
    """The caller of the call that this task serves; None if it was not authenticated."""
    return _CALLER.get(None)


def caller_of(_context: grpc.aio.ServicerContext[Any, Any]) -> Caller:
    """The caller of the call that this task serves. Raises LookupError if it was not authenticated."""
    return _CALLER.get()


def credentials_of(context: grpc.aio.ServicerContext[Any, Any]) -> Credentials:
    """The token and the workspace in the call's metadata; each is empty if it is missing."""
    found = {key: value for key, value in context.invocation_metadata() or () if key in (_AUTHORIZATION, _WORKSPACE)}
    return Credentials(token_of(_text(found.get(_AUTHORIZATION))), _text(found.get(_WORKSPACE)))


def _text(value: str | bytes | None) -> str:
    return value if isinstance(value, str) else ""
