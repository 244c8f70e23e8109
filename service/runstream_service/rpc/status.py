"""The one place where an error becomes a gRPC status."""

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
from runstream_service.core import errors

log = structlog.get_logger()

DOMAIN = "runstream"
DETAILS_KEY = "grpc-status-details-bin"

# An error without a line of its own takes its base class's.
CODES: dict[type[errors.CoreError], grpc.StatusCode] = {
    errors.CoreError: grpc.StatusCode.INTERNAL,
    errors.InvalidField: grpc.StatusCode.INVALID_ARGUMENT,
    errors.ProtocolError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.MalformedMessage: grpc.StatusCode.INVALID_ARGUMENT,
    errors.OpenExpected: grpc.StatusCode.INVALID_ARGUMENT,
    errors.ColumnLengths: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UndeclaredSeries: grpc.StatusCode.INVALID_ARGUMENT,
    errors.SequenceGap: grpc.StatusCode.OUT_OF_RANGE,
    errors.RunNotFound: grpc.StatusCode.NOT_FOUND,
    errors.ExperimentNotFound: grpc.StatusCode.NOT_FOUND,
    errors.RunDeleted: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ExperimentDeleted: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ParamChanged: grpc.StatusCode.ALREADY_EXISTS,
    errors.RunInOtherExperiment: grpc.StatusCode.ALREADY_EXISTS,
    errors.Fenced: grpc.StatusCode.ABORTED,
    errors.LedgerBehind: grpc.StatusCode.DATA_LOSS,
    errors.ReadTooSlow: grpc.StatusCode.ABORTED,
    errors.CursorTooOld: grpc.StatusCode.OUT_OF_RANGE,
    errors.Retryable: grpc.StatusCode.UNAVAILABLE,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Draining: grpc.StatusCode.UNAVAILABLE,
    errors.DatabaseUnavailable: grpc.StatusCode.UNAVAILABLE,
}


def code_of(error: BaseException) -> grpc.StatusCode:
    """The status code of an error; INTERNAL for what is not the core's."""
    for kind in type(error).__mro__:
        if kind in CODES:
            return CODES[kind]
    return grpc.StatusCode.INTERNAL


def rpc_status(error: errors.CoreError) -> status_pb2.RpcStatus:
    """The error as google.rpc.Status, with ErrorInfo, and RetryInfo where a retry makes sense."""
    metadata = {"field": error.field} if error.field else {}
    info = status_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)
    details = [_packed("google.rpc.ErrorInfo", info)]
    if isinstance(error, errors.Retryable):
        delay = Duration()
        delay.FromMilliseconds(round(error.retry_after_s * 1000))
        details.append(_packed("google.rpc.RetryInfo", status_pb2.RetryInfo(retry_delay=delay)))
    number: int = code_of(error).value[0]
    return status_pb2.RpcStatus(code=number, message=error.message, details=details)


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: BaseException) -> NoReturn:
    """Ends a call with the error's status. For an unexpected error: INTERNAL and an id that the log line has too."""
    if not isinstance(error, errors.CoreError):
        error = _internal(error)
    status = rpc_status(error)
    try:
        await context.abort(code_of(error), error.message, ((DETAILS_KEY, status.SerializeToString()),))
    except grpc.aio.InternalError as gone:
        # The caller has left; nobody reads the status. gRPC would log that as an error of ours.
        raise asyncio.CancelledError from gone
    raise AssertionError("abort() raises")


def _internal(bug: BaseException) -> errors.CoreError:
    """Logs a bug with its traceback; what the caller gets names only the log line."""
    error_id = secrets.token_hex(4)
    log.error("A call failed for a bug in the service", action="rpc_failed", error_id=error_id, exc_info=bug)
    return errors.CoreError(f"internal error {error_id}; the service's log says more under this id")


def _packed(type_name: str, message: Message) -> AnyMessage:
    """Packs under the official type name: ours has the same fields, and every gRPC tool knows that one."""
    return AnyMessage(type_url=f"type.googleapis.com/{type_name}", value=message.SerializeToString())
