"""The table of errors and statuses, read back with the official decoder."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
import structlog.testing
from google.rpc import error_details_pb2
from grpc_status import rpc_status as official

from runstream_service.errors import core as errors
from runstream_service.errors import statuses
from runstream_service.rpc import status

Code = grpc.StatusCode

TABLE = [
    (errors.CoreError, Code.INTERNAL, "INTERNAL"),
    (errors.InvalidField, Code.INVALID_ARGUMENT, "INVALID_FIELD"),
    (errors.ProtocolError, Code.INVALID_ARGUMENT, "INTERNAL"),
    (errors.MalformedMessage, Code.INVALID_ARGUMENT, "MALFORMED_MESSAGE"),
    (errors.OpenExpected, Code.INVALID_ARGUMENT, "OPEN_EXPECTED"),
    (errors.ColumnLengths, Code.INVALID_ARGUMENT, "COLUMN_LENGTHS"),
    (errors.UndeclaredSeries, Code.INVALID_ARGUMENT, "UNDECLARED_SERIES"),
    (errors.SequenceGap, Code.OUT_OF_RANGE, "SEQUENCE_GAP"),
    (errors.Unauthenticated, Code.UNAUTHENTICATED, "UNAUTHENTICATED"),
    (errors.Forbidden, Code.PERMISSION_DENIED, "FORBIDDEN"),
    (errors.NotFound, Code.NOT_FOUND, "NOT_FOUND"),
    (errors.AlreadyExists, Code.ALREADY_EXISTS, "ALREADY_EXISTS"),
    (errors.RunNotFound, Code.NOT_FOUND, "RUN_NOT_FOUND"),
    (errors.WorkspaceNotFound, Code.NOT_FOUND, "WORKSPACE_NOT_FOUND"),
    (errors.ExperimentNotFound, Code.NOT_FOUND, "EXPERIMENT_NOT_FOUND"),
    (errors.ArtifactNotFound, Code.NOT_FOUND, "ARTIFACT_NOT_FOUND"),
    (errors.RunDeleted, Code.FAILED_PRECONDITION, "RUN_DELETED"),
    (errors.ExperimentDeleted, Code.FAILED_PRECONDITION, "EXPERIMENT_DELETED"),
    (errors.ParamChanged, Code.ALREADY_EXISTS, "PARAM_CHANGED"),
    (errors.RunInOtherExperiment, Code.ALREADY_EXISTS, "RUN_IN_OTHER_EXPERIMENT"),
    (errors.Fenced, Code.ABORTED, "FENCED"),
    (errors.LedgerBehind, Code.DATA_LOSS, "LEDGER_BEHIND"),
    (errors.ReadTooSlow, Code.ABORTED, "READ_TOO_SLOW"),
    (errors.CursorTooOld, Code.OUT_OF_RANGE, "CURSOR_TOO_OLD"),
    (errors.Retryable, Code.UNAVAILABLE, "INTERNAL"),
    (errors.MessageTooLarge, Code.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE"),
    (errors.TooManySeries, Code.INVALID_ARGUMENT, "TOO_MANY_SERIES"),
    (errors.CommitFailed, Code.INTERNAL, "COMMIT_FAILED"),
    (errors.Overloaded, Code.RESOURCE_EXHAUSTED, "OVERLOADED"),
    (errors.OpenTimeout, Code.UNAVAILABLE, "OPEN_TIMEOUT"),
    (errors.ClientStalled, Code.UNAVAILABLE, "CLIENT_STALLED"),
    (errors.Draining, Code.UNAVAILABLE, "DRAINING"),
    (errors.DatabaseUnavailable, Code.UNAVAILABLE, "DATABASE_UNAVAILABLE"),
    (errors.NotConnected, Code.UNAVAILABLE, "DATABASE_UNAVAILABLE"),
    (errors.DatabaseUnsuitable, Code.UNAVAILABLE, "DATABASE_UNAVAILABLE"),
    (errors.DatabaseChanged, Code.UNAVAILABLE, "DATABASE_CHANGED"),
    (errors.StoreFull, Code.RESOURCE_EXHAUSTED, "STORE_FULL"),
    (errors.StoreRefuses, Code.PERMISSION_DENIED, "STORE_REFUSES"),
    (errors.FileTooLarge, Code.FAILED_PRECONDITION, "FILE_TOO_LARGE"),
    (errors.LimitReached, Code.RESOURCE_EXHAUSTED, "LIMIT_REACHED"),
    (errors.ArtifactsOff, Code.FAILED_PRECONDITION, "ARTIFACTS_OFF"),
    (errors.StoreUnavailable, Code.UNAVAILABLE, "STORE_UNAVAILABLE"),
    (errors.IssuerUnavailable, Code.UNAVAILABLE, "ISSUER_UNAVAILABLE"),
]


def test_the_tree_of_errors_has_every_class() -> None:
    kinds = {kind.__name__ for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)}
    drawn = set(re.findall(r"\w+", (errors.__doc__ or "")))
    assert kinds - drawn == set()


Call = Callable[[Exception], Awaitable[grpc.aio.AioRpcError]]


@pytest.fixture
async def call() -> AsyncIterator[Call]:
    """Raises an error in a real server; returns what a real client gets."""
    raised: list[Exception] = []

    async def fail(_request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        await status.abort(context, raised[-1])

    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {"Fail": grpc.unary_unary_rpc_method_handler(fail)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:

        async def run(error: Exception) -> grpc.aio.AioRpcError:
            raised.append(error)
            fail_remotely: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/test/Fail")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await fail_remotely(b"")
            return caught.value

        yield run
    await server.stop(None)


def details_of(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    """The details as grpcio-status decodes them, by the name of their type."""
    decoded = official.from_call(error)
    assert decoded is not None
    found: dict[str, Any] = {}
    for detail in decoded.details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo):
            message = kind()
            if detail.Unpack(message):
                found[kind.DESCRIPTOR.name] = message
    return found


@pytest.mark.parametrize(("kind", "code", "reason"), TABLE, ids=lambda value: getattr(value, "__name__", ""))
async def test_every_error_has_its_status_and_readable_details(
    call: Call, kind: type[errors.CoreError], code: grpc.StatusCode, reason: str
) -> None:
    error = await call(kind("what is wrong", field="run_id"))
    assert (error.code(), error.details()) == (code, "what is wrong")
    details = details_of(error)
    assert (details["ErrorInfo"].reason, details["ErrorInfo"].domain) == (reason, "runstream")
    assert dict(details["ErrorInfo"].metadata) == {"field": "run_id"}
    assert ("RetryInfo" in details) == issubclass(kind, errors.Retryable)


async def test_retry_delay_and_absent_field(call: Call) -> None:
    details = details_of(await call(errors.Overloaded("full", retry_after_s=2.5)))
    assert details["RetryInfo"].retry_delay.ToMilliseconds() == 2500
    assert dict(details["ErrorInfo"].metadata) == {}


async def test_text_that_is_not_ascii_arrives(call: Call) -> None:
    error = await call(errors.InvalidField("key: »ünïcode«\n", field="key"))
    assert error.details() == "key: »ünïcode«\n"


async def test_unknown_exception_shows_the_caller_an_id_and_the_log_the_cause(call: Call) -> None:
    with structlog.testing.capture_logs() as logs:
        error = await call(ZeroDivisionError("secret"))
    assert error.code() is Code.INTERNAL
    message = error.details() or ""
    assert "secret" not in message
    assert "Traceback" not in message
    match = re.search(r"internal error ([0-9a-f]{8})", message)
    assert match is not None
    assert (logs[0]["action"], logs[0]["error_id"]) == ("rpc_failed", match[1])
    assert isinstance(logs[0]["exc_info"], ZeroDivisionError)
    assert details_of(error)["ErrorInfo"].reason == "INTERNAL"


def test_table_has_every_error_of_the_core() -> None:
    def tree(kind: type[errors.CoreError]) -> set[type[errors.CoreError]]:
        return {kind}.union(*(tree(child) for child in kind.__subclasses__()))

    ours = {kind for kind in tree(errors.CoreError) if kind.__module__ == errors.__name__}
    assert ours == {row[0] for row in TABLE}
    assert set(statuses.TABLE) <= ours
    assert {status.mlflow for status in statuses.TABLE.values()} <= set(statuses.HTTP_STATUSES)


def test_new_error_takes_the_code_of_its_base() -> None:
    class Stale(errors.DatabaseUnavailable):
        pass

    assert statuses.status_of(Stale("x")).grpc is Code.UNAVAILABLE


async def test_abort_of_a_call_whose_caller_has_left_is_no_error() -> None:
    class LeftContext:
        async def abort(self, *_: object) -> None:
            raise grpc.aio.InternalError("Failed execute_batch")

    with pytest.raises(asyncio.CancelledError):
        await status.abort(LeftContext(), errors.Draining("x"))  # type: ignore[arg-type] # all that abort() uses of it
