"""What counting costs, as a share of the service's processor time.

The calls into the metrics are counted in a service under load, and each kind of call is timed alone. Taking turns with
a service whose metrics do nothing would say the same and shorter, but does not: from round to round, processor time a
point varies by 15 % on a machine with others, and what is looked for is below 3 %.
"""

from __future__ import annotations

import json
import sys
import timeit
from collections.abc import Callable
from pathlib import Path

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from runstream_bench import http_client
from runstream_bench.load import Load, push
from runstream_bench.service import service
from runstream_bench.usage import cpu_seconds
from runstream_service.ingest.latency import ClientClockOffset, LogToCommitHistogram
from runstream_service.ingest.metrics import Received

# Many small batches, in small groups: 2,000 a second, a fifth of what a core takes. Counting costs most there.
LOAD = Load(streams=200, batch_points=20, keys=20, pause_s=0.1)

_SCRAPES = 30
_SCRAPE_EVERY_S = 15.0  # as deploy/monitoring/prometheus.yml has it
_CALLS, _REPEATS = 5_000, 7
_LONG_HISTOGRAM = tuple(range(15))


async def metrics_cost(database_url: str, directory: Path, seconds: float) -> dict[str, float]:
    """The share of a service's CPU seconds that calls and scrapes take under LOAD, and the CPU time of a scrape."""
    counts_file = directory / "calls.json"
    wrapped = (sys.executable, "-m", "runstream_bench.counted", str(counts_file))
    async with service(database_url, directory / "counted.log", command=wrapped) as one:
        process = psutil.Process(one.pid)
        before = cpu_seconds(process)
        outcome = await push(one.grpc_address, LOAD, seconds)
        spent_s = cpu_seconds(process) - before
        scrape_s = _scrape_cpu_s(one.http_url, process)
    calls: dict[str, int] = json.loads(counts_file.read_text())
    costs_s = _costs_s()
    counting_s = sum(costs_s[name] * count for name, count in calls.items())
    counting_s += scrape_s * outcome.seconds / _SCRAPE_EVERY_S
    return {"metrics_cpu_share": counting_s / spent_s, "scrape_cpu_ms": 1000 * scrape_s}


def _scrape_cpu_s(url: str, process: psutil.Process) -> float:
    before = cpu_seconds(process)
    for _ in range(_SCRAPES):
        http_client.get(f"{url}/metrics")
    return (cpu_seconds(process) - before) / _SCRAPES


def _costs_s() -> dict[str, float]:
    """Of one call each, by the names that counted.py uses. An observation is one beyond the last of fifteen buckets,
    which takes longest to place."""
    registry = CollectorRegistry()
    counter = Counter("counter", "A counter.", registry=registry)
    labelled = Counter("labelled", "One with a label.", ["reason"], registry=registry)
    gauge = Gauge("gauge", "A gauge.", registry=registry)
    histogram = Histogram("histogram", "A histogram.", buckets=_LONG_HISTOGRAM, registry=registry)
    received, clock, delays = Received(), ClientClockOffset(), LogToCommitHistogram()
    calls: dict[str, Callable[[], object]] = {
        "Counter.inc": lambda: counter.inc(20),
        "Counter.labels": lambda: labelled.labels("OK"),
        "Gauge.labels": lambda: labelled.labels("OK"),
        "Histogram.labels": lambda: labelled.labels("OK"),
        "Gauge.inc": lambda: gauge.inc(),
        "Gauge.dec": lambda: gauge.dec(),
        "Gauge.set": lambda: gauge.set(1),
        "Histogram.observe": lambda: histogram.observe(1e9),
        "Received.count": lambda: received.count("grpc", 20),
        "ClientClockOffset.on_the_way_us": lambda: clock.on_the_way_us(1, 1.0),
        "LogToCommitHistogram.observe": lambda: delays.observe(0.6),
    }
    return {name: min(timeit.repeat(call, number=_CALLS, repeat=_REPEATS)) / _CALLS for name, call in calls.items()}
