"""kill -9 at random moments while producers stream: each logged point is stored exactly once."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from tests.support.producers import Producers, assert_exactly_once
from tests.support.serve import ServeProcess

# Each kind of kill once. The moments are random on purpose; the seed is printed, and may be given to replay one.
ROUNDS = int(os.environ.get("KILL_ROUNDS", "3"))


def _kill_service(serve: ServeProcess) -> None:
    serve.kill()
    serve.start()


def _kill_both(serve: ServeProcess) -> None:
    serve.kill_postgres()
    _kill_service(serve)


@pytest.mark.timeout(240 + 20 * ROUNDS)
def test_kill_9_of_service_and_postgres_loses_and_doubles_nothing(data_dir):
    seed = int(os.environ.get("KILL_SEED", str(time.time_ns())))
    print(f"KILL_SEED={seed}")
    chance = random.Random(seed)
    with ServeProcess(data_dir) as serve, Producers(serve.grpc_address, count=4, points_per_s=500) as producers:
        for round_number in range(ROUNDS):
            time.sleep(chance.uniform(0.1, 0.9))
            kill = (_kill_service, ServeProcess.kill_postgres, _kill_both)[round_number % 3]
            kill(serve)
            # The next harm may come before recovery has ended.
            if chance.random() < 0.7:
                serve.wait_until("/readyz", 200, timeout_s=60)
        serve.wait_until("/readyz", 200, timeout_s=60)
        reports = producers.stop()
        assert_exactly_once(serve.grpc_address, producers.run_id, reports)
    assert sum(report["reconnects"] for report in reports) > 0, "the kills did not reach the producers"


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
def test_a_postgres_that_is_stopped_and_comes_back_loses_and_doubles_nothing(data_dir, stop):
    with ServeProcess(data_dir) as serve, Producers(serve.grpc_address, count=2, points_per_s=500) as producers:
        for death in range(1, 4):
            pid = serve.wait_for_action("embedded_postgres_started", count=death)["pid"]
            os.kill(pid, stop)
            serve.wait_for_action("embedded_postgres_died", count=death)
        serve.wait_until("/readyz", 200)
        assert_exactly_once(serve.grpc_address, producers.run_id, producers.stop())
