"""The unary and reading services on a real gRPC server in this process, with a real channel."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc

from runstream.v1 import query_pb2_grpc, run_pb2_grpc
from runstream_service.auth.anonymous import Anonymous
from runstream_service.core.experiment_activity import ExperimentActivity
from runstream_service.core.experiments import Experiments
from runstream_service.core.run_moves import RunMoves
from runstream_service.core.runs import Runs
from runstream_service.database.pool import Database
from runstream_service.monitoring.metrics import Metrics
from runstream_service.query.reading.read_transaction import ReadPool
from runstream_service.query.run_search.run_search import RunSearch
from runstream_service.rpc.interceptor import CallInterceptor
from runstream_service.rpc.query_servicer import query_handler
from runstream_service.rpc.run_servicer import RunServicer
from runstream_service.server.frontend import GRPC_OPTIONS
from runstream_service.server.wiring import build_queries


@dataclass(frozen=True)
class Services:
    """The stubs, and the objects of the service behind them."""

    runs: run_pb2_grpc.RunServiceStub
    query: query_pb2_grpc.QueryServiceStub
    channel: grpc.aio.Channel
    metrics: Metrics
    database: Database
    address: str


@contextlib.asynccontextmanager
async def serve_on(database: Database, **of_calls: Any) -> AsyncIterator[Services]:
    """Serves RunService and QueryService from a database."""
    metrics = Metrics(version="test")
    server = grpc.aio.server(interceptors=[CallInterceptor(metrics, Anonymous(), **of_calls)], options=GRPC_OPTIONS)
    experiments = Experiments(database)
    read_pool = ReadPool(database, max_reads=5)
    runs = RunServicer(
        experiments,
        Runs(database, experiments),
        RunMoves(database),
        RunSearch(read_pool),
        ExperimentActivity(database),
    )
    run_pb2_grpc.add_RunServiceServicer_to_server(runs, server)
    queries = build_queries(read_pool, read_pool)
    server.add_generic_rpc_handlers((query_handler(queries),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Services(
                run_pb2_grpc.RunServiceStub(channel),
                query_pb2_grpc.QueryServiceStub(channel),
                channel,
                metrics,
                database,
                f"127.0.0.1:{port}",
            )
    finally:
        await server.stop(None)


def reason_of(error: grpc.aio.AioRpcError) -> tuple[grpc.StatusCode, str, str]:
    """Status code, reason and field of an error."""
    info = info_of(error)
    return error.code(), info.reason, info.metadata.get("field", "")


def info_of(error: grpc.aio.AioRpcError) -> Any:
    """The details of an error, read with the official decoder."""
    from google.rpc import error_details_pb2
    from grpc_status import rpc_status

    status = rpc_status.from_call(error)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info
