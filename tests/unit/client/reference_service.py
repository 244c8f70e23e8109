# ruff: noqa: N802 (the names of RPCs are the contract's)
"""The reference service of the client's tests: Append as in `ledger.py`, the calls of runs, reading, and who may call,
behind a real gRPC server.

tests/integration/ingest/test_reference_service.py compares its answers with those of the real service.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc

from runstream.v1 import ingest_pb2_grpc, query_pb2, query_pb2_grpc, run_pb2, run_pb2_grpc
from runstream_service.ingest import limits
from tests.unit.client.ledger import Ledger, Point, Refused, is_run_id

MAX_ENTRIES = 1_000  # params or tags in one call


class Runs(run_pb2_grpc.RunServiceServicer):
    """RunService, as far as the client uses it. Each of `faults` fails one of the next calls."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.calls: list[tuple[str, Any]] = []
        self.faults: list[Refused] = []
        self.broken: Refused | None = None  # raised by every call
        self.poison, self.poisoned = "", Refused(grpc.StatusCode.INTERNAL, "INTERNAL")  # raised by calls with that key
        self.max_bytes = limits.MAX_MESSAGE_BYTES
        self.hold: threading.Event | None = None
        self.other_run_id = ""  # the run that a derived id leads to; empty: its own

    def _enter(self, method: str, request: Any, context: grpc.ServicerContext) -> run_pb2.Run:
        if self.hold is not None:
            self.hold.wait(20)
        with self.ledger.lock:
            self.calls.append((method, request))
            self.ledger.lock.notify_all()
            if self.broken is not None:
                self.broken.abort(context)
            if self.faults:
                self.faults.pop(0).abort(context)
            self.check(method, request, context)
            run = self.ledger.runs.get(request.run_id)
            if run is None and method != "CreateRun":
                Refused(grpc.StatusCode.NOT_FOUND, "RUN_NOT_FOUND", f"no run {request.run_id}", field="run_id").abort(
                    context
                )
            if run is not None and run.lifecycle == run_pb2.LIFECYCLE_DELETED and method not in ("GetRun", "FinishRun"):
                deleted = grpc.StatusCode.FAILED_PRECONDITION
                Refused(deleted, "RUN_DELETED", "the run is deleted", field="run_id").abort(context)
            return run or run_pb2.Run()

    def check(self, method: str, request: Any, context: grpc.ServicerContext) -> None:
        """Refuses a call as the service, or a proxy in front of it, would."""
        invalid = grpc.StatusCode.INVALID_ARGUMENT
        if not is_run_id(request.run_id):
            Refused(invalid, "INVALID_FIELD", f"{request.run_id!r} is no run id", field="run_id").abort(context)
        entries = {"LogParams": "params", "SetTags": "tags"}.get(method)
        if entries and len(getattr(request, entries)) > MAX_ENTRIES:
            Refused(invalid, "INVALID_FIELD", f"more than {MAX_ENTRIES}", field=entries).abort(context)
        if entries and self.poison in getattr(request, entries):
            self.poisoned.abort(context)
        if request.ByteSize() > self.max_bytes:
            Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "", "Received message larger than max").abort(context)

    def CreateRun(self, request: run_pb2.CreateRunRequest, context: grpc.ServicerContext) -> run_pb2.CreateRunResponse:
        run_id = self.other_run_id or request.run_id if request.derived else request.run_id
        run = self._enter("CreateRun", request, context)
        with self.ledger.lock:
            created = run_id not in self.ledger.runs
            if created:
                run = run_pb2.Run(
                    run_id=run_id,
                    experiment=request.experiment or "Default",
                    name=request.name or "generated",
                    status=run_pb2.RUN_STATUS_RUNNING,
                    lifecycle=run_pb2.LIFECYCLE_ACTIVE,
                )
                self.ledger.runs[run_id] = run
            run = self.ledger.runs[run_id]
        return run_pb2.CreateRunResponse(run=run, created=created)

    def GetRun(self, request: run_pb2.GetRunRequest, context: grpc.ServicerContext) -> run_pb2.GetRunResponse:
        return run_pb2.GetRunResponse(run=self._enter("GetRun", request, context))

    def LogParams(self, request: run_pb2.LogParamsRequest, context: grpc.ServicerContext) -> run_pb2.LogParamsResponse:
        run = self._enter("LogParams", request, context)
        for key, value in request.params.items():
            if run.params.get(key, value) != value:
                Refused(grpc.StatusCode.ALREADY_EXISTS, "PARAM_CHANGED", f"param {key!r} is set", field="params").abort(
                    context
                )
        run.params.update(request.params)
        return run_pb2.LogParamsResponse()

    def SetTags(self, request: run_pb2.SetTagsRequest, context: grpc.ServicerContext) -> run_pb2.SetTagsResponse:
        self._enter("SetTags", request, context).tags.update(request.tags)
        return run_pb2.SetTagsResponse()

    def FinishRun(self, request: run_pb2.FinishRunRequest, context: grpc.ServicerContext) -> run_pb2.FinishRunResponse:
        run = self._enter("FinishRun", request, context)
        run.status = request.status
        run.end_time_unix_us = request.end_time_unix_us
        return run_pb2.FinishRunResponse()


class Queries(query_pb2_grpc.QueryServiceServicer):
    """QueryService: History and Latest return the points of the ledger, seven in a message; Tail sends a cursor and
    stays open. Each of `tail_faults` fails one of the next tails."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.tail_faults: list[Refused] = []
        self.cursors: list[bytes] = []

    def Tail(self, request: query_pb2.TailRequest, context: grpc.ServicerContext) -> Iterator[query_pb2.TailResponse]:
        self.cursors.append(request.cursor)
        if self.tail_faults:
            self.tail_faults.pop(0).abort(context)
        yield query_pb2.TailResponse(cursor=b"%d" % len(self.cursors))
        if self.tail_faults:
            self.tail_faults.pop(0).abort(context)
        gone = threading.Event()
        context.add_callback(gone.set)
        gone.wait(20)

    def History(
        self, request: query_pb2.HistoryRequest, context: grpc.ServicerContext
    ) -> Iterator[query_pb2.HistoryResponse]:
        if request.run_id not in self.ledger.runs:
            Refused(grpc.StatusCode.NOT_FOUND, "RUN_NOT_FOUND", "no such run", field="run_id").abort(context)
        series: dict[tuple[str, int, int], list[Point]] = {}
        for point in self.ledger.points:
            key, step, _, _, rank, attempt = point
            if (
                (not request.keys or key in request.keys)
                and (not request.HasField("rank") or rank == request.rank)
                and (not request.HasField("attempt") or attempt == request.attempt)
                and (not request.HasField("min_step") or step >= request.min_step)
                and (not request.HasField("max_step") or step <= request.max_step)
            ):
                series.setdefault((key, rank, attempt), []).append(point)
        for (key, rank, attempt), points in sorted(series.items()):
            points.sort(key=lambda point: point[1:3])
            whose = query_pb2.Series(run_id=request.run_id, key=key, rank=rank, attempt=attempt)
            for start in range(0, len(points), 7):
                piece = points[start : start + 7]
                yield query_pb2.HistoryResponse(
                    series=whose,
                    point_count=len(piece),
                    step=[point[1] for point in piece],
                    time_unix_us=[point[2] for point in piece],
                    value=[point[3] for point in piece],
                )

    def Latest(
        self, request: query_pb2.LatestRequest, context: grpc.ServicerContext
    ) -> Iterator[query_pb2.LatestResponse]:
        latest: dict[tuple[str, int, int], Point] = {}
        for point in self.ledger.points:
            name = (point[0], point[4], point[5])
            if name not in latest or point[1:4] >= latest[name][1:4]:
                latest[name] = point
        names = sorted(latest)
        for start in range(0, len(names), 7):
            part = names[start : start + 7]
            yield query_pb2.LatestResponse(
                run_ids=[request.run_ids[0]],
                keys=[name[0] for name in part],
                point_count=len(part),
                run_index=[0] * len(part),
                key_index=range(len(part)),
                rank=[name[1] for name in part],
                attempt=[name[2] for name in part],
                step=[latest[name][1] for name in part],
                time_unix_us=[latest[name][2] for name in part],
                value=[latest[name][3] for name in part],
            )


class Gate(grpc.ServerInterceptor):
    """Checks token and workspace of each call with `refusal_of`, and records both."""

    def __init__(self) -> None:
        self.refusal_of: Callable[[str, str], Refused | None] = lambda token, workspace: None
        self.seen: list[tuple[str, str, str]] = []  # method, token, workspace

    def only(self, *tokens: str) -> None:
        """Accepts only these tokens."""
        words = "the token 'ci' has expired"
        refused = Refused(grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", words)
        self.refusal_of = lambda token, workspace: None if token in tokens else refused

    def calls(self, method: str) -> list[tuple[str, str]]:
        """Returns token and workspace of each call of a method."""
        return [(token, workspace) for name, token, workspace in list(self.seen) if name == method]

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        metadata = dict(handler_call_details.invocation_metadata)
        token = str(metadata.get("authorization", "")).removeprefix("Bearer ")
        workspace = str(metadata.get("x-mlflow-workspace", ""))
        self.seen.append((handler_call_details.method.rpartition("/")[2], token, workspace))
        refusal = self.refusal_of(token, workspace)
        handler = continuation(handler_call_details)
        if refusal is None or handler is None:
            return handler

        def refuse(_request: object, context: grpc.ServicerContext) -> None:
            refusal.abort(context)

        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(refuse)
        make = (
            grpc.unary_stream_rpc_method_handler if handler.response_streaming else grpc.unary_unary_rpc_method_handler
        )
        return make(refuse)


class ReferenceService:
    """All of it behind a real gRPC server on a free port. After `stop`, `start` listens on the same one again."""

    def __init__(
        self, host: str = "127.0.0.1", port: int = 0, credentials: grpc.ServerCredentials | None = None
    ) -> None:
        """With `credentials`, it listens with TLS."""
        self.ledger = Ledger()
        self.gate = Gate()
        self.credentials = credentials
        self._host = host
        self.runs = Runs(self.ledger)
        self.queries = Queries(self.ledger)
        self._server: grpc.Server | None = None
        self.port = port
        self.start()

    @property
    def address(self) -> str:
        """The address for clients."""
        return f"{'grpcs://' if self.credentials is not None else ''}{self._host}:{self.port}"

    def start(self) -> None:
        """Listens; on the same port as before, if it listened before."""
        options = (
            ("grpc.so_reuseport", 0),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ("grpc.max_receive_message_length", limits.MAX_MESSAGE_BYTES),
        )
        self._server = grpc.server(futures.ThreadPoolExecutor(32), options=options, interceptors=[self.gate])
        ingest_pb2_grpc.add_IngestServiceServicer_to_server(self.ledger, self._server)
        run_pb2_grpc.add_RunServiceServicer_to_server(self.runs, self._server)
        query_pb2_grpc.add_QueryServiceServicer_to_server(self.queries, self._server)
        where = f"{self._host}:{self.port}"
        if self.credentials is not None:
            self.port = self._server.add_secure_port(where, self.credentials)
        else:
            self.port = self._server.add_insecure_port(where)
        self._server.start()

    def stop(self) -> None:
        """Breaks every connection at once."""
        if self._server is not None:
            self._server.stop(None).wait()
            self._server = None

    def points(self) -> list[Point]:
        """All points, in the order of storing."""
        with self.ledger.lock:
            return list(self.ledger.points)

    def values(self, key: str) -> list[float]:
        """Values of a key, in the order of storing."""
        return self.ledger.values(key)

    def run(self, run_id: str) -> run_pb2.Run:
        """One run. Raises LookupError if there is none with this id."""
        return self.ledger.runs[run_id]

    def all_runs(self) -> list[run_pb2.Run]:
        """All runs, deleted ones too."""
        return list(self.ledger.runs.values())

    def producers(self) -> set[str]:
        """The ids of all producers, as hex digits."""
        return {producer.hex() for producer in self.ledger.producers}

    def opens(self) -> int:
        """How often producers were opened."""
        return self.ledger.opens

    def delete_run(self, run_id: str) -> None:
        """Deletes a run as users do: it can be restored."""
        self.ledger.runs[run_id].lifecycle = run_pb2.LIFECYCLE_DELETED

    def restore_run(self, run_id: str) -> None:
        """Restores a run that was deleted."""
        self.ledger.runs[run_id].lifecycle = run_pb2.LIFECYCLE_ACTIVE

    def restore_database(self, *, with_runs: bool = True) -> int:
        """Goes back to a state without any point, and without runs if these began later; how many points that lost."""
        if not with_runs:
            self.ledger.runs.clear()
        return self.ledger.restore()
