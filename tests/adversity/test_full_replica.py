"""One replica of two has all the streams it takes: every job ends up with the other one, and loses nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import runstream
from tests.support.databases import short_directory
from tests.support.serve import ServeProcess

ROOT = Path(__file__).parents[2]
JOBS, POINTS = 6, 2_000


@pytest.fixture
def pair(database_url: str) -> Iterator[tuple[ServeProcess, ServeProcess]]:
    """A replica that takes one stream, and one with room."""
    with short_directory() as directory:
        common = ["--database", database_url]
        full = ServeProcess(directory / "full", arguments=[*common, "--max-streams", "1"])
        with full, ServeProcess(directory / "free", arguments=common) as free:
            yield full, free


def test_jobs_leave_a_full_replica_for_one_with_room(pair):
    full, free = pair
    with runstream.start_run("full", address=full.grpc_address) as run:  # its one stream
        run.log({"loss": 1.0})
        assert run.flush(30)
        jobs = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.unit.client.processes", "falls_off_the_end", str(POINTS)],
                cwd=ROOT,
                env={
                    **os.environ,
                    "RUNSTREAM_ADDRESS": f"ipv4:{full.grpc_address},{free.grpc_address}",
                    "RUNSTREAM_RUN_ID": uuid.uuid4().hex,
                    "RUNSTREAM_EXIT_TIMEOUT_S": "40",
                },
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(JOBS)
        ]
        run_ids = [job.communicate(timeout=90)[0].strip() for job in jobs]
    assert [job.returncode for job in jobs] == [0] * JOBS
    client = runstream.Client(free.grpc_address)
    for run_id in run_ids:
        assert list(client.history(run_id, "parent").steps) == list(range(POINTS))
        assert client.get_run(run_id).status == "FINISHED"
    client.close()
