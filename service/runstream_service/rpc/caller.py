"""The identity of a caller: the one function that authentication will replace."""

from __future__ import annotations

from typing import Any

import grpc

from runstream_service.core.caller import ANYONE, Caller


def caller_of(_context: grpc.aio.ServicerContext[Any, Any]) -> Caller:
    """The caller of an RPC."""
    return ANYONE
