"""What all calls have in common: authentication, bounds, error mapping, metrics."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError

from runstream_service.auth.authenticator import Authenticator
from runstream_service.auth.refused_calls import REFUSALS, RefusedCalls
from runstream_service.concurrency.deadlines import with_call_timeout
from runstream_service.errors.core import InvalidField, Overloaded
from runstream_service.errors.statuses import status_of
from runstream_service.monitoring.metrics import Metrics
from runstream_service.rpc import status
from runstream_service.rpc.caller import credentials_of, known_caller, set_caller
from runstream_service.rpc.peer import Peers
from runstream_service.rpc.roles import role_of
from runstream_service.sharing.capacity import SharedCapacity
from runstream_service.sharing.current import current_workspace

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]
    Behavior = Callable[[Any, Context], Awaitable[Any]]
    Handler = grpc.RpcMethodHandler[Any, Any]  # generic only in the stubs

OWN_METHODS = "/runstream."
# Enough for 1,000 tags of 4,000 characters. Our own clients send much smaller calls.
MAX_CALL_BYTES = 4 << 20
# How many calls may be under way at a time, and the bytes of their requests. When a job of thousands of ranks begins,
# its calls wait for a connection of the pool. Calls above these bounds are refused, and their clients repeat them,
# which costs less than keeping them in memory.
MAX_CALLS = 2_000
MAX_BYTES_OF_CALLS = 64 << 20
# These calls last as long as somebody reads, so their durations are not measured.
LONG_LIVED = ("/runstream.v1.QueryService/Tail",)


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Authenticates calls, turns exceptions into statuses, and counts calls. Ingest streams are only authenticated
    here; ingest_servicer.py does the rest for them."""

    def __init__(
        self,
        metrics: Metrics,
        authenticator: Authenticator,
        *,
        refused_calls: RefusedCalls | None = None,
        trusted_proxies: Sequence[str] = (),
        check: Callable[[], None] = lambda: None,
        max_calls: int = MAX_CALLS,
        max_bytes_of_calls: int = MAX_BYTES_OF_CALLS,
    ) -> None:
        """`check` raises an error if calls that begin now cannot be served."""
        self._metrics = metrics
        self._authenticator = authenticator
        self._refused_calls = refused_calls
        self._peers = Peers(trusted_proxies)
        self._check = check
        self._calls, self._bytes = SharedCapacity(max_calls), SharedCapacity(max_bytes_of_calls)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wraps the handler of one call."""
        handler = await continuation(handler_call_details)
        method: str = handler_call_details.method
        # No handler: gRPC answers UNIMPLEMENTED.
        if handler is None or not method.startswith(OWN_METHODS):
            return handler
        if handler.request_streaming:
            return self._with_caller(method, handler)
        make = (
            grpc.unary_stream_rpc_method_handler if handler.response_streaming else grpc.unary_unary_rpc_method_handler
        )
        behavior: Any = handler.unary_stream if handler.response_streaming else handler.unary_unary
        wrapped: Any = self._wrap(method, handler.request_deserializer, behavior, streams=handler.response_streaming)
        # The request is decoded in `call`, not by gRPC, which would report bytes that are no message as INTERNAL,
        # although it is the caller's error.
        return make(wrapped, request_deserializer=None, response_serializer=handler.response_serializer)

    def _with_caller(self, method: str, handler: Handler) -> Handler:
        """The handler of an ingest stream: authenticates, then hands over to ingest_servicer.py."""
        behavior: Any = handler.stream_stream

        async def call(requests: Any, context: Context) -> None:
            try:
                await self._authenticate(method, context)
            except Exception as error:
                self._metrics.grpc_ended(method, status_of(error).grpc.name, None)
                self._note(error, method, context)
                await status.abort(context, error)
            await behavior(requests, context)

        return grpc.stream_stream_rpc_method_handler(call)

    async def _authenticate(self, method: str, context: Context) -> None:
        caller = await self._authenticator.authenticate(credentials_of(context))
        set_caller(caller)
        caller.check(role_of(method))

    def _note(self, error: Exception, method: str, context: Context) -> None:
        if self._refused_calls is not None and isinstance(error, REFUSALS):
            self._refused_calls.note(error, call=method, peer=self._peers.address_of(context), caller=known_caller())

    def _wrap(
        self, method: str, deserialize: Callable[[bytes], Any] | None, behavior: Behavior, *, streams: bool
    ) -> Behavior:
        async def call(request: bytes, context: Context) -> Any:
            begun = time.perf_counter()
            code = grpc.StatusCode.OK.name
            try:
                self._check()
                await self._authenticate(method, context)
                if method in LONG_LIVED:  # tails have their own bound, in query/tail/
                    return await behavior(_decode(deserialize, request), context)
                with self._slot(len(request)):
                    answer = behavior(_decode(deserialize, request), context)
                    # A stream may last longer, since it waits for its reader; query/ limits how long a read lasts.
                    return await (answer if streams else with_call_timeout(answer))
            except asyncio.CancelledError:
                code = grpc.StatusCode.CANCELLED.name  # the caller went away, or its deadline passed
                raise
            except grpc.aio.InternalError as error:
                code = grpc.StatusCode.CANCELLED.name  # the same, noticed by a write
                raise asyncio.CancelledError from error
            except Exception as error:
                code = status_of(error).grpc.name
                self._note(error, method, context)
                await status.abort(context, error)
            finally:
                took_s = None if method in LONG_LIVED else time.perf_counter() - begun
                self._metrics.grpc_ended(method, code, took_s)

        return call

    @contextlib.contextmanager
    def _slot(self, size: int) -> Iterator[None]:
        workspace_id = current_workspace()
        if not (self._calls.fits(workspace_id, 1) and self._bytes.fits(workspace_id, size)):
            raise Overloaded(
                f"this replica is full: {self._calls.held} calls are under way, {self._calls.held_by(workspace_id)} of "
                "them in this workspace; try again"
            )
        self._calls.take(workspace_id, 1)
        self._bytes.take(workspace_id, size)
        try:
            yield
        finally:
            self._calls.release(workspace_id, 1)
            self._bytes.release(workspace_id, size)


def _decode(deserialize: Callable[[bytes], Any] | None, request: bytes) -> Any:
    try:
        return deserialize(request) if deserialize else request
    except DecodeError as error:
        raise InvalidField("request: its bytes are not a message of the method's request type") from error
