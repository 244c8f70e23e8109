"""Measures how long a busy service lets others wait: for acknowledgements, liveness and health."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from types import TracebackType

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from runstream.v1 import ingest_pb2, ingest_pb2_grpc
from runstream_bench import http_client
from tests.support.serve import ServeProcess


class Watch:
    """Streams a point, waits for its acknowledgement, and so on; asks /healthz and the health of gRPC as well.

    with Watch(service, run_id) as watch:
        watch.during(work)["ack"]
    """

    def __init__(self, service: ServeProcess, run_id: str) -> None:
        self._service = service
        self._run_id = run_id
        self._ended = threading.Event()
        self._errors: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,)) for work in (self._stream, self._healthz, self._health)
        ]
        self._longest: dict[str, float] = {}
        self._rounds: Counter[str] = Counter()

    def during(self, work: Callable[[], object]) -> dict[str, float]:
        """The longest wait of each kind during some work, in seconds, including those that had begun at its end."""
        self._settle()
        self._longest.clear()
        work()
        self._settle()
        return dict(self._longest)

    def _settle(self) -> None:
        """Returns when one wait of each kind has begun and ended after the call."""
        wanted = {what: self._rounds[what] + 2 for what in ("ack", "healthz", "health")}
        give_up = time.monotonic() + 60
        while any(self._rounds[what] < rounds for what, rounds in wanted.items()):
            if self._errors:
                raise self._errors[0]
            assert time.monotonic() < give_up, self._rounds
            time.sleep(0.005)

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(60)
        if self._errors and error is None:
            raise self._errors[0]

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._errors.append(error)

    @contextlib.contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self._longest[what] = max(self._longest.get(what, 0.0), time.perf_counter() - begun)
        self._rounds[what] += 1

    def _healthz(self) -> None:
        while not self._ended.wait(0.02):
            with self._timed("healthz"):
                assert http_client.get(self._service.http_url + "/healthz").status == 200

    def _health(self) -> None:
        with grpc.insecure_channel(self._service.grpc_address) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check
            while not self._ended.wait(0.02):
                with self._timed("health"):
                    check(health_pb2.HealthCheckRequest(service="liveness"), timeout=30)

    def _stream(self) -> None:
        messages: queue.SimpleQueue[ingest_pb2.AppendRequest | None] = queue.SimpleQueue()
        opening = ingest_pb2.Open(run_id=self._run_id, producer_id=uuid.uuid4().bytes, first_unacked=1)
        series = [ingest_pb2.SeriesDeclaration(series_index=0, key="watched")]
        with grpc.insecure_channel(self._service.grpc_address) as channel:
            answers = ingest_pb2_grpc.IngestServiceStub(channel).Append(iter(messages.get, None))
            messages.put(ingest_pb2.AppendRequest(open=opening))
            messages.put(ingest_pb2.AppendRequest(declare=ingest_pb2.Declare(series=series)))
            next(answers)
            number = 0
            while not self._ended.wait(0.01):
                number += 1
                batch = ingest_pb2.Batch(
                    number=number,
                    point_count=1,
                    series_index=[0],
                    step=[number],
                    time_unix_us=[time.time_ns() // 1_000],
                    value=[1.0],
                )
                with self._timed("ack"):
                    messages.put(ingest_pb2.AppendRequest(batch=batch))
                    while next(answers).ack.committed_number < number:
                        pass
            messages.put(None)
