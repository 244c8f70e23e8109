"""The network between service and PostgreSQL cuts, freezes, stalls and delays: each logged point is stored once.

`SOAK_SECONDS=3600` makes a soak of it (CONTRIBUTING.md).
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runstream_bench import http_client
from runstream_bench.tcp_proxy import Direction, Proxy, socket_of, through
from tests.support.producers import Producers, assert_exactly_once
from tests.support.serve import ServeProcess

SECONDS = float(os.environ.get("SOAK_SECONDS", "10"))
# A soak has time for outages that are longer than the timeouts of the service (docs/deadlines.md).
LONGEST_FAULT_S = 5.0 if SECONDS < 300 else 90.0
# Small epochs, so that roll-up is at work whatever happens.
OFTEN = ("--epoch-points", "1000", "--epoch-seconds", "1", "--max-read-age", "1")
# What only a bug leaves in the log.
BUGS = {"service_failed", "rpc_failed", "http_failed", "commit_notifier_failed", "tail_failed", "shutdown_step_failed"}

# Waiting for a connection, for an answer on it, and for the end of what was cancelled (docs/deadlines.md).
LONGEST_ANSWER_S = 10 + 65 + 10 + 5


class Reader(threading.Thread):
    """Sends requests over HTTP all the time. Every one has to be answered, and never with an internal error."""

    def __init__(self, serve: ServeProcess) -> None:
        super().__init__(daemon=True)
        self.answers = Counter[int]()
        self.longest_s = 0.0
        self._url = f"{serve.http_url}/api/2.0/mlflow/experiments/search?max_results=5"
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(0.1):
            begun = time.monotonic()
            self.answers[http_client.get(self._url, timeout_s=2 * LONGEST_ANSWER_S).status] += 1
            self.longest_s = max(self.longest_s, time.monotonic() - begun)

    def stop(self) -> None:
        self._stopped.set()
        self.join()


Fault = Callable[[Proxy, random.Random], None]


def _freeze(proxy: Proxy, chance: random.Random) -> None:
    proxy.freeze()


def _stall(proxy: Proxy, chance: random.Random) -> None:
    proxy.stall()


def _lose_answers(proxy: Proxy, chance: random.Random) -> None:
    proxy.stall(Direction.ANSWERS)


def _lose_requests(proxy: Proxy, chance: random.Random) -> None:
    proxy.stall(Direction.REQUESTS)


def _cut(proxy: Proxy, chance: random.Random) -> None:
    proxy.cut()


def _refuse(proxy: Proxy, chance: random.Random) -> None:
    proxy.refuse = True
    proxy.cut()


def _slow(proxy: Proxy, chance: random.Random) -> None:
    proxy.delay_s, proxy.slice_bytes = chance.uniform(0.001, 0.05), 4_096


def _cut_in_the_middle(proxy: Proxy, chance: random.Random) -> None:
    proxy.cut_after_bytes = 20_000
    proxy.cut()


FAULTS: tuple[Fault, ...] = (
    _freeze, _stall, _lose_answers, _lose_requests, _cut, _refuse, _slow, _cut_in_the_middle
)  # fmt: skip


@pytest.mark.timeout(400 + 2 * SECONDS)
def test_faults_of_the_network_to_the_database_lose_and_double_nothing(database_url: str, data_dir: Path) -> None:
    seed = int(os.environ.get("FAULT_SEED", str(time.time_ns())))
    print(f"FAULT_SEED={seed}")
    chance = random.Random(seed)
    with (
        Proxy(socket_of(database_url)) as proxy,
        ServeProcess(data_dir, arguments=["--database", through(database_url, proxy.address), *OFTEN]) as serve,
        Producers(serve.grpc_address, count=4, points_per_s=200) as producers,
    ):
        readers = [Reader(serve) for _ in range(3)]
        for reader in readers:
            reader.start()
        faults = _faults(chance)
        until, done = time.monotonic() + SECONDS, set[Fault]()
        while time.monotonic() < until or done < set(FAULTS):
            time.sleep(chance.uniform(0.2, 2.0))
            fault, fault_s = next(faults), min(chance.expovariate(1 / 1.5), LONGEST_FAULT_S)
            if LONGEST_FAULT_S > 60 and chance.random() < 0.1:
                fault_s = chance.uniform(20, LONGEST_FAULT_S)
            print(f"{fault.__name__.strip('_')} for {fault_s:.1f} s", flush=True)
            fault(proxy, chance)
            done.add(fault)
            time.sleep(fault_s)
            if chance.random() < 0.5:  # else what was held back arrives late
                proxy.cut()
            proxy.restore()
            if chance.random() < 0.7:
                serve.wait_until("/readyz", 200, timeout_s=60)
        serve.wait_until("/readyz", 200, timeout_s=60)
        for reader in readers:
            reader.stop()
        reports = producers.stop()
        assert_exactly_once(serve.grpc_address, producers.run_id, reports)
        assert [report["lost_acknowledged"] for report in reports] == [0] * len(reports)
        assert not BUGS & set(serve.actions()), serve.stderr
        print(f"{sum(report['logged'] for report in reports):,} points; {proxy.cuts} connections were cut")
        answers, longest_s = sum((reader.answers for reader in readers), Counter()), max(r.longest_s for r in readers)
        print(f"answers over HTTP: {dict(answers)}, the longest after {longest_s:.1f} s")
        assert proxy.cuts > 0
        assert set(answers) <= {200, 429, 503}
        assert longest_s < LONGEST_ANSWER_S


def _faults(chance: random.Random) -> Iterator[Fault]:
    """Every fault once, in a random order, then again."""
    while True:
        yield from chance.sample(FAULTS, len(FAULTS))
