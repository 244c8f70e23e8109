"""What all calls of our unary and server-streaming methods have in common: error mapping, metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError

from runstream_service.core.errors import InvalidField
from runstream_service.metrics import Metrics
from runstream_service.rpc import status
from runstream_service.statuses import status_of

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]
    Behavior = Callable[[Any, Context], Awaitable[Any]]
    Handler = grpc.RpcMethodHandler[Any, Any]  # generic only in the stubs

OURS = "/runstream."
# Open for as long as somebody looks: their time says nothing.
LONG_LIVED = ("/runstream.v1.QueryService/Tail",)


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Turns exceptions into statuses and counts calls. Ingest streams do both by themselves, in ingest_servicer.py."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wraps the handler of one call."""
        handler = await continuation(handler_call_details)
        method: str = handler_call_details.method
        # No handler: gRPC answers UNIMPLEMENTED.
        if handler is None or handler.request_streaming or not method.startswith(OURS):
            return handler
        make = (
            grpc.unary_stream_rpc_method_handler if handler.response_streaming else grpc.unary_unary_rpc_method_handler
        )
        behavior: Any = handler.unary_stream if handler.response_streaming else handler.unary_unary
        wrapped: Any = self._wrap(method, handler.request_deserializer, behavior)
        # The request stays bytes here: bytes that are no message are the caller's fault, where gRPC says INTERNAL.
        return make(wrapped, request_deserializer=None, response_serializer=handler.response_serializer)

    def _wrap(self, method: str, deserialize: Callable[[bytes], Any] | None, behavior: Behavior) -> Behavior:
        async def call(request: bytes, context: Context) -> Any:
            begun = time.perf_counter()
            code = grpc.StatusCode.OK.name
            try:
                return await behavior(_decode(deserialize, request), context)
            except asyncio.CancelledError:
                code = grpc.StatusCode.CANCELLED.name  # the caller went away, or its deadline passed
                raise
            except grpc.aio.InternalError as error:
                code = grpc.StatusCode.CANCELLED.name  # the same, noticed by a write
                raise asyncio.CancelledError from error
            except Exception as error:
                code = status_of(error).grpc.name
                await status.abort(context, error)
            finally:
                took_s = None if method in LONG_LIVED else time.perf_counter() - begun
                self._metrics.grpc_ended(method, code, took_s)

        return call


def _decode(deserialize: Callable[[bytes], Any] | None, request: bytes) -> Any:
    try:
        return deserialize(request) if deserialize else request
    except DecodeError as error:
        raise InvalidField("the bytes are not a message of the method's request type") from error
