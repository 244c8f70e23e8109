"""The disk below PostgreSQL is full for a while: training goes on, no point is refused, all are there afterwards."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.databases import short_directory
from tests.support.polling import until_now
from tests.support.producers import Producers, assert_exactly_once
from tests.support.serve import ServeProcess

# A new cluster has some 50 MB; the rest is for the log, and what is left over when the ballast is gone again.
DISK_BYTES = 400 << 20
LEFT_BYTES = 12 << 20
OFTEN = ("--epoch-points", "20000", "--epoch-seconds", "1", "--max-read-age", "1")


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of its own, in memory."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    with short_directory() as directory:
        options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0755", "runstream-test", str(directory)]
        mounted = subprocess.run(["mount", *options], capture_output=True, text=True)
        if mounted.returncode:
            pytest.skip(f"this machine lets nobody mount a small file system: {mounted.stderr.strip()}")
        try:
            yield directory
        finally:
            subprocess.run(["umount", "--lazy", str(directory)], check=True)


@pytest.mark.timeout(300)
def test_a_full_disk_delays_points_and_loses_and_refuses_none(small_disk):
    with (
        # Fresh: the log of a cluster that was made before is nearly all hole, for which there may be no room later.
        ServeProcess(small_disk, arguments=OFTEN, fresh=True) as serve,
        Producers(serve.grpc_address, count=4, points_per_s=2_000) as producers,
    ):
        serve.wait_for_action("epoch_rolled", count=2)
        ballast = small_disk / "ballast"
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(small_disk).free - LEFT_BYTES)
        _wait_for(serve, r"^runstream_group_commit_failures_total\{.*\} [1-9]", "the disk did not become full")
        serve.wait_for_action("group_commit_failed", count=5, timeout_s=60)
        committed = serve.metric("runstream_points_committed_total")
        ballast.unlink()
        print({record["error"] for record in serve.log_records if record["action"] == "group_commit_failed"})
        # The replica may still call itself ready while PostgreSQL recovers, which can take longer than a client waits.
        until_now(lambda: serve.metric("runstream_points_committed_total") > committed, timeout_s=120)
        serve.wait_until("/readyz", 200, timeout_s=60)
        reports = producers.stop()
        assert_exactly_once(serve.grpc_address, producers.run_id, reports)
        assert "batch_failed" not in serve.actions()
        _wait_for(serve, r"^runstream_rollup_lag_points 0", "roll-up did not go on")
        assert_exactly_once(serve.grpc_address, producers.run_id, reports)


def _wait_for(serve: ServeProcess, line: str, otherwise: str) -> None:
    """Waits until the metrics have such a line."""
    give_up = time.monotonic() + 60
    while not re.search(line, serve.get("/metrics")[1], re.MULTILINE):
        assert time.monotonic() < give_up, otherwise
        time.sleep(0.1)
