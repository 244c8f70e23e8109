"""A replica with several workers: any of them may die or hang at any moment, and so may their supervisor."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import runstream
from runstream_service.rpc.health import LIVENESS
from runstream_service.server.pool_shares import connections_of_replica
from tests.support import preloaded
from tests.support.databases import short_directory
from tests.support.polling import until_now
from tests.support.producers import Producers, assert_exactly_once
from tests.support.serve import COMMAND, ServeProcess, command_environment

TWO = ["--workers", "2"]


@pytest.fixture(scope="module")
def serve() -> Iterator[ServeProcess]:
    """One service for all tests after which two workers still run."""
    with short_directory() as directory, ServeProcess(directory / "data", arguments=TWO) as process:
        yield process


@pytest.fixture
def replaced(serve: ServeProcess) -> Callable[[int], None]:
    """Waits until a number of workers have ended since the test began, and others serve in their place."""
    before = serve.actions()

    def wait(workers: int) -> None:
        for action in ("worker_ended", "worker_ready"):
            serve.wait_for_action(action, count=before.count(action) + workers, timeout_s=90)

    return wait


def committed(serve: ServeProcess) -> float:
    return serve.metric("runstream_points_committed_total")


# -- what is as with one process -------------------------------------------------------------------------------------


def test_every_scrape_has_the_sums_of_all_workers_whichever_answers(serve: ServeProcess) -> None:
    before = committed(serve)
    with Producers(serve.grpc_address, 4, 50, apart=True) as producers:
        until_now(lambda: serve.metric("runstream_streams_open") == 4)
        reports = producers.stop()
    points = sum(report["logged"] for report in reports)
    assert {committed(serve) for _ in range(20)} == {before + points}
    assert serve.metric("runstream_workers") == 2
    assert serve.metric("runstream_ready") == 1
    assert serve.metric("runstream_streams_capacity") == 5_000
    assert serve.metric("runstream_queue_capacity_points") == 400_000
    scraped = serve.metric("runstream_http_requests_total", method="GET", route="/metrics", status="200")
    assert scraped >= 25, "each worker has only seen some of them"


def test_a_run_may_be_followed_over_one_worker_and_logged_over_another(serve: ServeProcess) -> None:
    """Each client has its own connection, so with eight of them both workers have some (but for one time in 128)."""
    with Producers(serve.grpc_address, 8, 20, apart=True) as producers, runstream.Client(serve.grpc_address) as client:
        seen = set()
        for update in client.tail(producers.run_id):
            seen |= {series.rank for series in update.series}
            if len(seen) == 8:
                break
        reports = producers.stop()
    assert_exactly_once(serve.grpc_address, producers.run_id, reports)


async def test_its_connections_are_as_many_as_documented_and_belong_to_one_replica(serve: ServeProcess) -> None:
    connection = await asyncpg.connect(serve.database_url)
    names = "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'runstream%'"
    try:
        for _ in range(200):
            kinds = [row[0].partition("/")[0] for row in await connection.fetch(names)]
            fixed = sorted(kind for kind in kinds if kind not in ("runstream", "runstream-writer"))
            if len(fixed) >= 9:
                break
            await asyncio.sleep(0.05)
        limit = int(await connection.fetchval("SHOW max_connections"))
    finally:
        await connection.close()
    assert fixed == sorted([*["runstream-notifier"] * 2, *["runstream-ping"] * 5, *["runstream-rollup"] * 2])
    most = connections_of_replica(workers=2, pool_size=10, writers=2)
    assert most == 2 * (10 + 2 + 1) + 4 + len(fixed)  # a further writer, while one workspace fills the queue
    assert most <= limit

    done = subprocess.run(
        [*COMMAND, "status", "--json", "--database", serve.database_url],
        env=command_environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert [replica["pid"] for replica in json.loads(done.stdout)["replicas"]] == [serve.pid]


def test_a_port_in_use_is_refused_also_when_workers_share_it(serve: ServeProcess, data_dir: Path) -> None:
    for workers in ("1", "2"):
        for flag, address in (
            ("--grpc-listen", serve.grpc_address),
            ("--http-listen", serve.http_url.removeprefix("http://")),
        ):
            other = "--http-listen" if flag == "--grpc-listen" else "--grpc-listen"
            command = [*COMMAND, "serve", "--workers", workers, flag, address, other, "127.0.0.1:0"]
            done = preloaded.run([*command, "--data-dir", str(data_dir)], command_environment())
            assert done.returncode == 2
            assert done.stderr.splitlines()[-1].startswith(f"runstream: {flag} (")
            assert "Address already in use" in done.stderr


# -- workers end -----------------------------------------------------------------------------------------------------


def test_workers_that_are_killed_are_replaced_and_nothing_is_lost_or_stored_twice(
    serve: ServeProcess, replaced: Callable[[int], None]
) -> None:
    died = serve.metric("runstream_workers_replaced_total", reason="died")
    with Producers(serve.grpc_address, 2, 200) as producers:
        seen = committed(serve)
        for death in (1, 2):
            until_now(lambda: committed(serve) > seen)  # noqa: B023 - called at once
            os.kill(serve.worker_pids[0], signal.SIGKILL)
            replaced(death)
            counted = committed(serve)
            assert counted >= seen, "a counter went down"
            seen = counted
        reports = producers.stop()
    assert_exactly_once(serve.grpc_address, producers.run_id, reports)
    assert serve.metric("runstream_workers_replaced_total", reason="died") == died + 2
    assert serve.metric("runstream_workers") == 2
    record = serve.wait_for_action("worker_ended")
    assert (record["reason"], record["exit_code"], record["level"]) == ("died", -signal.SIGKILL, "error")


def test_a_worker_that_hangs_is_killed_and_replaced(serve: ServeProcess, replaced: Callable[[int], None]) -> None:
    hung = serve.metric("runstream_workers_replaced_total", reason="hung")
    with Producers(serve.grpc_address, 2, 10) as producers:
        os.kill(serve.worker_pids[0], signal.SIGSTOP)
        replaced(1)
        reports = producers.stop()
    assert_exactly_once(serve.grpc_address, producers.run_id, reports)
    assert serve.metric("runstream_workers_replaced_total", reason="hung") == hung + 1
    assert serve.wait_for_action("worker_ended")["reason"] == "hung"


def test_a_pause_of_the_supervisor_is_not_taken_for_a_hang_of_its_workers(serve: ServeProcess) -> None:
    workers = serve.worker_pids
    with serve.frozen(), grpc.insecure_channel(serve.grpc_address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for _ in range(12):  # half a second each: longer than one ping may take
            watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=0.5)
            assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
            with pytest.raises(grpc.RpcError):
                next(watch)
        status, why = serve.get("/metrics")
        assert (status, "no answer to 'metrics'" in why) == (503, True), "half of the counters would be wrong"
    assert serve.metric("runstream_workers") == 2
    assert serve.worker_pids == workers


def test_liveness_ends_while_the_supervisor_hangs_and_points_are_taken_all_the_same(serve: ServeProcess) -> None:
    with Producers(serve.grpc_address, 2, 5) as producers:
        with serve.frozen(), grpc.insecure_channel(serve.grpc_address) as channel:
            serve.wait_until("/healthz", 503, timeout_s=90)
            health = health_pb2_grpc.HealthStub(channel)
            alive = health_pb2.HealthCheckRequest(service=LIVENESS)
            until_now(lambda: health.Check(alive, timeout=30).status == health_pb2.HealthCheckResponse.NOT_SERVING)
            with runstream.start_run("meanwhile", address=serve.grpc_address) as run:
                run.log({"loss": 1.0}, step=0)
                assert run.flush(120)
        until_now(lambda: health_is_back(serve))
        reports = producers.stop()
    assert_exactly_once(serve.grpc_address, producers.run_id, reports)


def health_is_back(serve: ServeProcess) -> bool:
    """Whether both workers are healthy, as far as ten connections show."""
    return {serve.get("/healthz")[0] for _ in range(10)} == {200}


def test_a_worker_that_gets_sigterm_finishes_what_it_has_begun_and_is_replaced(
    serve: ServeProcess, replaced: Callable[[int], None]
) -> None:
    stopped = serve.metric("runstream_workers_replaced_total", reason="stopped")
    counted = committed(serve)
    with Producers(serve.grpc_address, 2, 200) as producers:
        until_now(lambda: committed(serve) > counted)
        os.kill(serve.worker_pids[0], signal.SIGTERM)
        replaced(1)
        reports = producers.stop()
    assert_exactly_once(serve.grpc_address, producers.run_id, reports)
    assert serve.metric("runstream_workers_replaced_total", reason="stopped") == stopped + 1
    assert committed(serve) == counted + sum(report["logged"] for report in reports), "it said what it had counted"


# -- the supervisor ends ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ending() -> Iterator[ServeProcess]:
    """Another service, which ends streams soon and may be ended by tests, but runs again afterwards."""
    arguments = [*TWO, "--max-connection-age", "0.5"]
    with short_directory() as directory, ServeProcess(directory / "data", arguments=arguments) as process:
        yield process


def test_sigterm_drains_all_workers_and_kill_9_leaves_none(ending: ServeProcess) -> None:
    serve = ending
    with Producers(serve.grpc_address, 2, 200) as producers:
        workers = serve.worker_pids
        assert serve.terminate() == 0
        assert not any(map(psutil.pid_exists, workers))
        assert serve.postgres_pid is None
        assert "worker_killed" not in serve.actions()
        serve.start()

        workers = serve.worker_pids
        os.kill(workers[0], signal.SIGSTOP)  # one that could not notice by itself
        serve.kill()
        until_now(lambda: not any(map(psutil.pid_exists, workers)))
        serve.start()
        assert "embedded_postgres_adopted" in serve.actions()
        serve.wait_until("/readyz", 200)

        assert_exactly_once(serve.grpc_address, producers.run_id, producers.stop())


def test_streams_that_reach_the_connection_age_go_on(ending: ServeProcess) -> None:
    before = aged(ending)
    with Producers(ending.grpc_address, 2, 100) as producers:
        until_now(lambda: aged(ending) > before)
        reports = producers.stop()
    assert_exactly_once(ending.grpc_address, producers.run_id, reports)
    assert all(report["said"] == [] for report in reports)


def aged(serve: ServeProcess) -> float:
    """How many streams have reached the connection age."""
    try:
        return serve.metric("runstream_streams_ended_total", reason="DRAINING")
    except KeyError:
        return 0.0


def test_a_start_ends_with_a_reason_when_a_worker_cannot_start(data_dir: Path) -> None:
    """Its modules are there, but its memory is not."""
    broken = {"PYTHONPATH": str(data_dir / "broken")}
    package = data_dir / "broken"
    package.mkdir(parents=True)
    (package / "sitecustomize.py").write_text(
        "import os, sys\nif any('server.worker' in word for word in sys.orig_argv): os._exit(7)\n"
    )
    done = subprocess.run(
        [*COMMAND, "serve", *TWO, "--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0",
         "--data-dir", str(data_dir / "data")],
        env=command_environment(broken), capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "ended while it started (exit code 7)" in done.stderr.splitlines()[-1]
