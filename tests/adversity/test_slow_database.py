"""PostgreSQL is ten times slower, then stopped: memory is bounded, readiness is correct, and all points arrive."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from runstream_bench.fault_parts import slowed
from runstream_service.database.postgres_files import processes_of
from tests.support.polling import until_now
from tests.support.producers import Producers, assert_exactly_once
from tests.support.serve import ServeProcess

# The least that may be set: full within half a second of a PostgreSQL that stands still.
QUEUE_POINTS, BATCH_POINTS = 16_384, 1_000
GROWTH_BYTES = 80 << 20


@contextlib.contextmanager
def standing_still(cluster: Path) -> Iterator[None]:
    processes = list(processes_of(cluster))
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def test_a_slow_database_fills_no_memory_and_is_ready_and_one_that_stands_still_is_not(data_dir: Path) -> None:
    with (
        ServeProcess(data_dir, arguments=["--max-queued-points", str(QUEUE_POINTS)]) as serve,
        Producers(serve.grpc_address, count=2, points_per_s=20_000) as producers,
    ):
        until_now(lambda: serve.metric("runstream_points_committed_total"))
        postmaster, before = serve.postgres_pid, serve.memory_bytes
        assert postmaster is not None
        with slowed(postmaster):
            committed = serve.metric("runstream_points_committed_total")
            slow_until = time.monotonic() + 2
            give_up = slow_until + 60
            while time.monotonic() < slow_until or serve.metric("runstream_points_committed_total") == committed:
                assert time.monotonic() < give_up, "a slow database commits all the same"
                assert serve.metric("runstream_queue_points") <= QUEUE_POINTS
                assert serve.get("/readyz")[0] == 200, "it answers, if slowly"
        with standing_still(data_dir.resolve() / "postgres"):
            assert "did not answer in time" in serve.wait_until("/readyz", 503)
            assert QUEUE_POINTS - BATCH_POINTS < serve.metric("runstream_queue_points") <= QUEUE_POINTS
        serve.wait_until("/readyz", 200)
        reports = producers.stop()
        assert serve.memory_bytes < before + GROWTH_BYTES
        assert_exactly_once(serve.grpc_address, producers.run_id, reports)
