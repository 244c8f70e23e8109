"""What `run.log()` costs its caller, with the sender running. A process of its own, as training has one:

python -m runstream_bench.log_cost ADDRESS
"""

from __future__ import annotations

import json
import logging
import statistics
import sys
import time

import runstream

_CALLS = 20_000


def median_us(run: runstream.Run, metrics: dict[str, float], first_step: int) -> float:
    """Median microseconds of a call, the clock's own cost (some 0.05) included."""
    clock, log = time.perf_counter_ns, run.log
    spent = []
    for step in range(first_step, first_step + _CALLS):
        begun = clock()
        log(metrics, step=step)
        spent.append(clock() - begun)
    return statistics.median(spent) / 1000


def main(address: str) -> None:
    """Prints {"log_us_median_1": ..., "log_us_median_10": ..., "log_points_lost": ...}."""
    logging.basicConfig(level=logging.WARNING)
    with runstream.start_run("bench", "log-cost", address=address) as run:
        run.log({"loss": 0.0}, step=0)
        run.flush(30)  # from here on it is connected, and all threads run
        one = median_us(run, {"loss": 0.5}, 1)
        ten = median_us(run, {f"metric/{n}": n / 7 for n in range(10)}, 1)
        run.flush(60)
        stats = run.stats()
    lost = stats.logged - stats.acknowledged
    print(json.dumps({"log_us_median_1": one, "log_us_median_10": ten, "log_points_lost": lost}))


if __name__ == "__main__":
    main(sys.argv[1])
