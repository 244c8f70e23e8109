"""Turns an error into a gRPC status with details."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any, NoReturn

import grpc
import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from runstream.v1 import status_pb2
from runstream_service.concurrency.deadlines import with_timeout
from runstream_service.errors import core as errors
from runstream_service.errors.statuses import status_of

log = structlog.get_logger()

DOMAIN = "runstream"
DETAILS_KEY = "grpc-status-details-bin"

# A status is sent after the messages that were written before it, so a client that reads nothing does not get it. After
# this time, the call is cancelled.
STATUS_TIMEOUT_S = 10.0


def rpc_status(error: errors.CoreError) -> status_pb2.RpcStatus:
    """The error as google.rpc.Status, with ErrorInfo, and RetryInfo where a retry makes sense."""
    metadata = {"field": error.field} if error.field else {}
    if isinstance(error, errors.InvalidField) and error.position is not None:
        metadata["position"] = str(error.position)
    info = status_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)
    details = [_packed("google.rpc.ErrorInfo", info)]
    if isinstance(error, errors.Retryable):
        delay = Duration()
        delay.FromMilliseconds(round(error.retry_after_s * 1000))
        details.append(_packed("google.rpc.RetryInfo", status_pb2.RetryInfo(retry_delay=delay)))
    number: int = status_of(error).grpc.value[0]
    return status_pb2.RpcStatus(code=number, message=error.message, details=details)


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: BaseException) -> NoReturn:
    """Ends a call with the error's status. An unexpected error becomes INTERNAL with an id that is also in the log.

    Raises what gRPC's `abort` raises, or CancelledError if the client has left or does not read."""
    if not isinstance(error, errors.CoreError):
        error = _internal(error)
    status = rpc_status(error)
    try:
        ending = context.abort(status_of(error).grpc, error.message, ((DETAILS_KEY, status.SerializeToString()),))
        await with_timeout(ending, STATUS_TIMEOUT_S)
    except TimeoutError:
        raise asyncio.CancelledError from None
    except grpc.aio.InternalError as gone:
        # The caller has left, and nobody reads the status. gRPC would log that as an error of the service.
        raise asyncio.CancelledError from gone
    raise AssertionError("abort() raises")


def _internal(bug: BaseException) -> errors.CoreError:
    """Logs a bug with its traceback; the caller gets only the id of the log line."""
    error_id = secrets.token_hex(4)
    log.error("A call failed because of a bug in the service", action="rpc_failed", error_id=error_id, exc_info=bug)
    return errors.CoreError(f"internal error {error_id}; the service's log has details under this id")


def _packed(type_name: str, message: Message) -> AnyMessage:
    """Packs a message under its official type name, which every gRPC tool knows; our own type has the same fields."""
    return AnyMessage(type_url=f"type.googleapis.com/{type_name}", value=message.SerializeToString())
