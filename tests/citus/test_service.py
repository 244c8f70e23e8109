"""The service on a cluster: nodes are killed while producers stream, and readers look while everything moves."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import asyncpg
import pytest

import runstream
from tests.support.citus import CitusCluster, crash, cut_off, name_of
from tests.support.producers import Producers, assert_exactly_once
from tests.support.rest import Rest
from tests.support.serve import ServeProcess, command_environment

SECONDS = float(os.environ.get("SOAK_SECONDS", "20"))
READS = int(os.environ.get("CITUS_READS", "300"))
# Epochs as small as can be, rolled up, dropped and merged while the producers run.
OFTEN = ("--epoch-rows", "5000", "--epoch-seconds", "1", "--max-read-age", "1")


def serve_on(url: str, data_dir: Path, *arguments: str) -> ServeProcess:
    return ServeProcess(data_dir, arguments=("--database", url, "--pool-size", "12", *arguments))


@pytest.mark.timeout(300 + 3 * SECONDS)
async def test_nodes_that_crash_lose_and_double_nothing(cluster: CitusCluster, database_url: str, data_dir: Path):
    seed = int(os.environ.get("KILL_SEED", str(time.time_ns())))
    print(f"KILL_SEED={seed}")
    chance = random.Random(seed)
    coordinator, *workers = cluster.urls(name_of(database_url))
    with (
        serve_on(database_url, data_dir, *OFTEN) as serve,
        Producers(serve.grpc_address, count=4, points_per_s=200) as producers,
    ):
        until, harms = time.monotonic() + SECONDS, 0
        while time.monotonic() < until or harms < 4:
            time.sleep(chance.uniform(0.5, 3.0))
            harm = harms % 4 if harms < 4 else chance.randrange(4)
            if harm == 0:
                await crash(chance.choice(workers))
            elif harm == 1:
                await cut_off(chance.choice(workers))
            elif harm == 2:
                serve.kill()
                serve.start()
            else:
                await crash(coordinator)
            harms += 1
        serve.wait_until("/readyz", 200, timeout_s=60)
        reports = producers.stop()
        assert_exactly_once(serve.grpc_address, producers.run_id, reports)
        # What is hot becomes segments, and nothing changes by that.
        wait_until_rolled_up(serve)
        assert_exactly_once(serve.grpc_address, producers.run_id, reports)
        assert {"epoch_rolled", "epoch_dropped"} <= set(serve.actions())


def wait_until_rolled_up(serve: ServeProcess) -> None:
    give_up = time.monotonic() + 90
    while serve.metric("runstream_rollup_lag_points"):
        assert time.monotonic() < give_up, serve.stderr
        time.sleep(0.2)


@pytest.mark.timeout(300 + READS)
async def test_reads_have_every_acknowledged_point_once_while_it_is_rolled_up(database_url: str, data_dir: Path):
    with serve_on(database_url, data_dir, *OFTEN) as serve:
        run = runstream.start_run("citus", "reads", address=serve.grpc_address)
        acknowledged = 0
        stopped = threading.Event()

        def write() -> None:
            nonlocal acknowledged
            step = 0
            while not stopped.is_set():
                for _ in range(200):
                    run.log({"loss": step * 0.5, "other": float(step)}, step=step)
                    step += 1
                assert run.flush(60)
                acknowledged = step

        failures: list[str] = []
        reads = 0

        def read() -> None:
            nonlocal reads
            with runstream.Client(serve.grpc_address) as client:
                while reads < READS and not failures:
                    before = acknowledged
                    try:
                        steps = [point.step for point in client.history(run.run_id, "loss")]
                        latest = {point.key: point.step for point in client.latest(run.run_id)}
                        curves = client.chart(run.run_id, "other", max_buckets=50)
                    except runstream.RunstreamError as error:
                        if "ask again" not in str(error):  # it was slower than the points moved
                            failures.append(repr(error))
                        continue
                    if steps != list(range(len(steps))) or len(steps) < before:
                        failures.append(f"{before} acknowledged, {len(steps)} in history")
                    if before and min(latest.values()) < before - 1:
                        failures.append(f"{before} acknowledged, latest {latest}")
                    if sum(count for curve in curves for count in curve.point_counts) < before:
                        failures.append(f"{before} acknowledged, {curves}")
                    reads += 3

        threads = [threading.Thread(target=write), *(threading.Thread(target=read) for _ in range(3))]
        for thread in threads:
            thread.start()
        for thread in threads[1:]:
            thread.join()
        stopped.set()
        threads[0].join()
        run.finish()
        print(f"{reads:,} reads of up to {acknowledged:,} points, {serve.actions().count('epoch_rolled')} roll-ups")
        assert failures == []
        assert serve.actions().count("epoch_dropped") >= 2


@pytest.mark.timeout(240)
async def test_mlflows_routes_the_view_export_and_purge(database_url: str, data_dir: Path, tmp_path: Path):
    with serve_on(database_url, data_dir, *OFTEN, "--purge-after-days", "0") as serve:
        rest = Rest(serve.http_url)
        run_id = rest.post("runs/create", {"experiment_id": "0"}).body["run"]["info"]["run_id"]
        metrics = [
            {"key": "m", "value": step / 3, "timestamp": 1_700_000_000_000 + step, "step": step} for step in range(900)
        ]
        assert rest.post("runs/log-batch", {"run_id": run_id, "metrics": metrics}).status == 200

        def check() -> None:
            history = rest.get("metrics/get-history", {"run_id": run_id, "metric_key": "m"}).body["metrics"]
            assert [(one["step"], one["value"]) for one in history] == [(one["step"], one["value"]) for one in metrics]
            found = rest.post("runs/search", {"experiment_ids": ["0"], "filter": "metrics.m > 299"}).body["runs"]
            assert [one["info"]["run_id"] for one in found] == [run_id]

        check()
        connection = await asyncpg.connect(database_url)
        in_view = "SELECT count(*), sum(value) FROM metric_points WHERE run_id = $1::text::uuid AND key = 'm'"
        before = await connection.fetch(in_view, run_id)
        assert before[0][0] == 900
        wait_until_rolled_up(serve)
        check()
        assert await connection.fetch(in_view, run_id) == before
        file = tmp_path / "points.csv"
        command = [
            sys.executable,
            "-m",
            "runstream_service",
            "export",
            run_id,
            "--format",
            "csv",
            "--output",
            str(file),
        ]
        subprocess.run(
            [*command, "--address", serve.grpc_address], check=True, env=command_environment(), capture_output=True
        )
        assert len(file.read_text().splitlines()) == 901
        assert rest.post("runs/delete", {"run_id": run_id}).status == 200
        gc = [sys.executable, "-m", "runstream_service", "gc", "--purge-after-days", "0", "--database", database_url]
        give_up = time.monotonic() + 60
        while await connection.fetchval("SELECT count(*) FROM metric_segments"):
            assert time.monotonic() < give_up
            subprocess.run(gc, check=True, env=command_environment(), capture_output=True)
            time.sleep(0.2)
        assert await connection.fetchval("SELECT count(*) FROM series") == 0
        status = [sys.executable, "-m", "runstream_service", "status", "--database", database_url]
        subprocess.run(status, check=True, env=command_environment(), capture_output=True)
        await connection.close()
        rest.close()
