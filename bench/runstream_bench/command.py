"""`runstream bench` without an option for something else: the rounds, then the report."""

from __future__ import annotations

import sys
from collections.abc import Callable

import uvloop
from rich.console import Console

from runstream_bench.report import Report
from runstream_bench.session import SATURATING, session


def run(*, seconds: float, pairs: int, scale: float, as_json: bool) -> int:
    """Measure, print; 1 if the table did not hold exactly what was acknowledged. `seconds` is one round's length; the
    loads have `scale` of their streams."""
    console = Console(stderr=True)
    with console.status("") as status:

        def say(what: str) -> None:
            status.update(what)
            if not console.is_terminal:
                console.print(what, highlight=False)

        report = uvloop.run(_measure(seconds, pairs, scale, say))
    if as_json:
        sys.stdout.write(report.as_json() + "\n")
    else:
        report.print(Console())
    return 0 if report.rows_exact else 1


async def _measure(seconds: float, pairs: int, scale: float, say: Callable[[str], None]) -> Report:
    report = Report()
    async with session(say) as running:
        for load in SATURATING:
            results = report.pairs.setdefault(load.name, [])
            for number in range(1, pairs + 1):
                scaled = load.scaled(scale)
                say(f"{scaled.streams} streams x {load.batch_points} points, pair {number} of {pairs}")
                results.append(await running.pair(scaled, seconds))
        say("ack latency under a light load")
        report.ack_latencies_s = await running.ack_latencies_s(max(seconds, 8.0))
        say("cost of log()")
        report.log_us = await running.log_cost()
        say("cost of the metrics")
        report.metrics = await running.metrics_cost(seconds)
        report.rows_exact = running.rows_exact
        report.rss_mb = running.memory.samples_mb
    return report
