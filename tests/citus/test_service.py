"""The service on a cluster: nodes are killed while producers stream, and readers look while everything moves."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
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
OFTEN = ("--epoch-points", "5000", "--epoch-seconds", "1", "--max-read-age", "1")


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
        # Hot points become segments, and the points stay the same.
        wait_until_rolled_up(serve)
        assert_exactly_once(serve.grpc_address, producers.run_id, reports)
        assert {"epoch_rolled", "epoch_dropped"} <= set(serve.actions())


def wait_until_rolled_up(serve: ServeProcess) -> None:
    give_up = time.monotonic() + 90
    while serve.metric("runstream_rollup_lag_points"):
        assert time.monotonic() < give_up, serve.stderr
        time.sleep(0.2)


# A run gets so many steps, then another one begins: so reads stay small, however long this lasts.
STEPS_OF_A_RUN = 10_000


class Writer:
    """Logs steps 0, 1, 2, ... of two metrics; `acknowledged` has the current run and how many steps it has for sure."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.acknowledged = ("", 0)
        self.stopped = threading.Event()
        self.points = 0

    def write(self) -> None:
        while not self.stopped.is_set():
            with runstream.start_run("citus", "reads", address=self._address) as run:
                for step in range(STEPS_OF_A_RUN):
                    run.log({"loss": step * 0.5, "other": float(step)}, step=step)
                    if step % 200 == 199:
                        assert run.flush(60)
                        self.acknowledged = (run.run_id, step + 1)
                        self.points += 400
                        if self.stopped.is_set():
                            return


class Reader:
    """Reads the current run in three ways, and compares with what was acknowledged before; READS times, and until
    `is_enough`."""

    def __init__(self, address: str, writer: Writer, is_enough: Callable[[], bool]) -> None:
        self._address = address
        self._writer = writer
        self._is_enough = is_enough
        self.reads = 0
        self.too_slow = 0
        self.failures: list[str] = []

    def read(self) -> None:
        with runstream.Client(self._address) as client:
            while (self.reads < READS or not self._is_enough()) and not self.failures:
                run_id, steps = self._writer.acknowledged
                if not steps:
                    self._writer.stopped.wait(0.1)
                    continue
                try:
                    self._compare(client, run_id, steps)
                except runstream.RunstreamError as error:
                    if "ask again" not in str(error):
                        self.failures.append(repr(error))
                    self.too_slow += 1  # slower than the points moved: the reader is told, and asks again

    def _compare(self, client: runstream.Client, run_id: str, steps: int) -> None:
        found = [point.step for point in client.history(run_id, "loss")]
        if found != list(range(len(found))) or len(found) < steps:
            self.failures.append(f"{steps} acknowledged, {len(found)} in history")
        latest = {point.key: point.step for point in client.latest(run_id)}
        if len(latest) != 2 or min(latest.values()) < steps - 1:
            self.failures.append(f"{steps} acknowledged, latest {latest}")
        (curve,) = client.chart(run_id, "other", max_buckets=50)
        if sum(curve.point_counts) < steps or max(curve.max) != sum(curve.point_counts) - 1:
            self.failures.append(f"{steps} acknowledged, {curve}")
        self.reads += 3


@pytest.mark.timeout(300 + READS)
async def test_reads_have_every_acknowledged_point_once_while_it_is_rolled_up(database_url: str, data_dir: Path):
    with serve_on(database_url, data_dir, *OFTEN) as serve:
        writer = Writer(serve.grpc_address)
        reader = Reader(serve.grpc_address, writer, lambda: serve.actions().count("epoch_dropped") >= 2)
        writing = threading.Thread(target=writer.write)
        reading = [threading.Thread(target=reader.read) for _ in range(3)]
        for thread in (writing, *reading):
            thread.start()
        for thread in reading:
            thread.join()
        writer.stopped.set()
        writing.join()
        rolled, dropped = (serve.actions().count(f"epoch_{what}") for what in ("rolled", "dropped"))
        print(f"{reader.reads:,} exact reads, {reader.too_slow} too slow; {writer.points:,} points, {rolled} roll-ups")
        assert reader.failures == []
        assert dropped >= 2


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
        while await connection.fetchval("SELECT count(*) FROM series"):
            assert time.monotonic() < give_up
            subprocess.run(gc, check=True, env=command_environment(), capture_output=True)
            time.sleep(0.2)
        assert await connection.fetchval("SELECT count(*) FROM metric_segments") == 0
        status = [sys.executable, "-m", "runstream_service", "status", "--database", database_url]
        subprocess.run(status, check=True, env=command_environment(), capture_output=True)
        await connection.close()
        rest.close()
