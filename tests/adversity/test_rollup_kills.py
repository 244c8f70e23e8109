"""kill -9 at random moments while epochs are rolled up every second: each logged point is stored exactly once."""

from __future__ import annotations

import os
import random
import re
import time

import pytest

from tests.adversity.test_kills import _kill_both, _kill_postgres, _kill_service
from tests.support.producers import Producers, assert_exactly_once
from tests.support.serve import ServeProcess

ROUNDS = int(os.environ.get("KILL_ROUNDS", "9"))
# Epochs as small as can be, dropped and merged while the producers run.
OFTEN = ("--epoch-rows", "1000", "--epoch-seconds", "1", "--max-read-age", "1")


@pytest.mark.timeout(400)
def test_kill_9_while_epochs_are_rolled_up_loses_and_doubles_nothing(data_dir):
    seed = int(os.environ.get("KILL_SEED", str(time.time_ns())))
    print(f"KILL_SEED={seed}")
    chance = random.Random(seed)
    with (
        ServeProcess(data_dir, arguments=OFTEN) as serve,
        Producers(serve.grpc_address, count=8, points_per_s=500) as producers,
    ):
        for round_number in range(ROUNDS):
            time.sleep(chance.uniform(0.5, 2.5))
            (_kill_service, _kill_postgres, _kill_both)[round_number % 3](serve)
            if chance.random() < 0.7:
                serve.wait_until("/readyz", 200, timeout_s=60)
        serve.wait_until("/readyz", 200, timeout_s=60)
        reports = producers.stop()
        assert_exactly_once(serve.grpc_address, producers.run_id, reports)
        # What is hot becomes segments, and nothing changes by that.
        while not _idle(serve):
            time.sleep(0.2)
        assert_exactly_once(serve.grpc_address, producers.run_id, reports)
        assert {"epoch_rolled", "epoch_dropped", "series_merged"} <= set(serve.actions())


def _idle(serve: ServeProcess) -> bool:
    metrics = serve.get("/metrics")[1]

    def value(name: str) -> float:
        found = re.search(rf"^{name} (\S+)$", metrics, re.MULTILINE)
        assert found is not None
        return float(found[1])

    visible, dropped = (value(f"runstream_rollup_{kind}_epoch") for kind in ("visible", "dropped"))
    return value("runstream_rollup_lag_points") == 0 and visible == dropped > 3
