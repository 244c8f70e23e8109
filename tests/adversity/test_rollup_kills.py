"""kill -9 in the middle of roll-up, again and again: each logged point is stored exactly once, and memory is bounded.

`SOAK_SECONDS=600` makes a soak of it (CONTRIBUTING.md).
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.adversity.test_kills import _kill_both, _kill_service
from tests.support.producers import Producers, assert_exactly_once
from tests.support.serve import ServeProcess

SECONDS = float(os.environ.get("SOAK_SECONDS", "10"))
# Epochs as small as can be, dropped and merged while the producers run.
OFTEN = ("--epoch-points", "1000", "--epoch-seconds", "1", "--max-read-age", "1")
# Roll-up begins when an epoch is opened, and is over, with these few rows, a tenth of a second later.
ROLLUP_S = 0.1
KINDS = (_kill_service, ServeProcess.kill_postgres, _kill_both)
# A service that has just started has 80 MB. What it takes in a soak must not depend on how long that lasts.
MEMORY_BOUND_BYTES = 250e6


class Memory(threading.Thread):
    """Measures the most memory that the service uses, over all of its restarts."""

    def __init__(self, serve: ServeProcess) -> None:
        super().__init__(daemon=True)
        self.most_bytes = 0
        self._serve = serve
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(0.2):
            with contextlib.suppress(psutil.NoSuchProcess):  # it is being killed
                self.most_bytes = max(self.most_bytes, self._serve.memory_bytes)

    def stop(self) -> None:
        self._stopped.set()
        self.join()


@pytest.mark.timeout(400 + 3 * SECONDS)
def test_kill_9_while_epochs_are_rolled_up_loses_and_doubles_nothing(data_dir):
    seed = int(os.environ.get("KILL_SEED", str(time.time_ns())))
    print(f"KILL_SEED={seed}")
    chance = random.Random(seed)
    with (
        ServeProcess(data_dir, arguments=OFTEN) as serve,
        Producers(serve.grpc_address, count=4, points_per_s=500) as producers,
    ):
        memory = Memory(serve)
        memory.start()
        kinds = _kinds(chance)
        until, rounds = time.monotonic() + SECONDS, 0
        while time.monotonic() < until or rounds < len(KINDS):  # a busy machine takes long for a round
            rounds += 1
            _wait_for_rollup(serve, chance)
            next(kinds)(serve)
            if chance.random() < 0.7:
                serve.wait_until("/readyz", 200, timeout_s=60)
        serve.wait_until("/readyz", 200, timeout_s=60)
        reports = producers.stop()
        assert_exactly_once(serve.grpc_address, producers.run_id, reports)
        # Hot points become segments, and the points stay the same.
        while not _idle(serve) or "series_merged" not in serve.actions():
            time.sleep(0.2)
        assert_exactly_once(serve.grpc_address, producers.run_id, reports)
        memory.stop()
        kills, points = serve.actions().count("service_ready") - 1, sum(report["logged"] for report in reports)
        print(f"{kills} kills of the service, {points:,} points, most memory {memory.most_bytes / 1e6:.0f} MB")
        assert kills >= 2
        assert {"epoch_rolled", "epoch_dropped", "series_merged"} <= set(serve.actions())
        assert memory.most_bytes < MEMORY_BOUND_BYTES


def _kinds(chance: random.Random) -> Iterator[Callable[[ServeProcess], None]]:
    """Every kind of kill once, then mostly the service only."""
    yield from KINDS
    while True:
        yield chance.choices(KINDS, weights=(8, 1, 1))[0]


def _wait_for_rollup(serve: ServeProcess, chance: random.Random) -> None:
    """Some epochs later, to a moment in the middle of roll-up."""
    time.sleep(chance.uniform(0.5, 3.0))
    opened = serve.actions().count("epoch_opened")
    serve.wait_for_action("epoch_opened", count=opened + 1, timeout_s=60)
    time.sleep(chance.uniform(0, ROLLUP_S))


def _idle(serve: ServeProcess) -> bool:
    metrics = serve.wait_until("/metrics", 200)  # a worker answers 503 as long as it does not reach the supervisor

    def value(name: str) -> float:
        found = re.search(rf"^{name} (\S+)$", metrics, re.MULTILINE)
        assert found is not None, metrics
        return float(found[1])

    visible, dropped = (value(f"runstream_rollup_{kind}_epoch") for kind in ("visible", "dropped"))
    return value("runstream_rollup_lag_points") == 0 and visible == dropped > 3
