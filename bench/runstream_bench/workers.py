"""`runstream bench --workers N`: what N training workers cost, each of which logs 20 metrics once a second.

Everything is counted until their points are rolled up and merged, so that nothing is left for later; only memory,
acknowledgements and traffic are of the time in which they log.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Callable

import grpc
import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from runstream.v1 import run_pb2, run_pb2_grpc
from runstream_bench import report
from runstream_bench import storage_data as data
from runstream_bench.load import Load, Outcome, push
from runstream_bench.session import Started, started
from runstream_service.server import process_tuning

METRICS, EVERY_S = 20, 1.0
_WARM_UP = Load(streams=4, batch_points=100, pause_s=0.1, batches=5)
_SILENCE_S = 1.0
_MERGE_TIMEOUT_S = 120.0

_HOT_POINT_BYTES = """
SELECT (SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits
         WHERE inhparent = 'hot_batches'::regclass)::float8 / (SELECT sum(point_count) FROM commits)
"""
_LAST_COMMIT = "SELECT coalesce(max(commit_no), 0) FROM commits"
_STORED = "SELECT sum(point_count)::bigint FROM metric_segments"
_SMALL_ONES = """
SELECT EXISTS (SELECT FROM metric_segments WHERE point_count < 800 GROUP BY series_id HAVING count(*) > 1)
"""

Values = dict[str, float | bool]


def run(*, workers: int, seconds: float, as_json: bool) -> int:
    """Measures and prints; they log for `seconds`. Returns the exit code: 1 if a point is lost or stored twice."""
    console = Console(stderr=True)

    def say(what: str) -> None:
        console.print(f"{time.strftime('%H:%M:%S')} {what}", highlight=False)

    process_tuning.raise_file_limit()  # each worker has a connection
    values = uvloop.run(_measure(workers, seconds, say))
    if as_json:
        sys.stdout.write(report.as_json(values) + "\n")
    else:
        _print(values, Console())
    return 0 if values["rows_exact"] else 1


async def _measure(workers: int, seconds: float, say: Callable[[str], None]) -> Values:
    # Two epochs, of about the usual minute; and hot batches are not kept for older reads, for which merging would wait.
    options = ("--epoch-seconds", f"{seconds / 2:g}", "--max-read-age", "0")
    async with started(say, *options) as parts:
        warm = await push(parts.address, _WARM_UP)
        before = await parts.meter.read_settled()
        values: Values = {"workers": float(workers)}
        outcome = await _log(parts, workers, seconds, values, say)
        say("rolling up and merging what they logged")
        await _finish(parts.address, outcome.run_id)
        await data.rolled_up(parts.database)
        await _merged(parts)
        usage = (await parts.meter.read_settled()).since(before)
        points = outcome.points_acknowledged
        values |= usage.per_point(points)
        values["page_bytes_per_point"] = usage.page_bytes / points
        values["service_cpu_cores"] = usage.service_cpu_s / outcome.seconds
        values["postgres_cpu_cores"] = usage.postgres_cpu_s / outcome.seconds
        values["rss_max_mb"] = max(parts.memory.samples_mb)
        stored = await parts.database.fetchval(_STORED)
        values["rows_exact"] = stored == points + warm.points_acknowledged and not outcome.points_refused
    return values


async def _log(parts: Started, workers: int, seconds: float, values: Values, say: Callable[[str], None]) -> Outcome:
    """All workers connect, are silent for a moment, and log."""
    load = Load(streams=workers, batch_points=METRICS, keys=METRICS, pause_s=EVERY_S, connections=workers)
    idle_mb = parts.memory.samples_mb[-1]
    traffic = 0

    async def connected() -> None:
        nonlocal traffic
        await asyncio.sleep(_SILENCE_S)
        values["rss_kb_per_worker"] = (parts.memory.samples_mb[-1] - idle_mb) * 1000 / workers
        traffic = _loopback_bytes()
        say(f"{workers} workers log {METRICS} metrics a second for {seconds:.0f} s")

    commits = await parts.database.fetchval(_LAST_COMMIT)
    outcome = await push(parts.address, load, seconds, connected)
    values["points_per_s"] = outcome.points_per_s
    values["wire_bytes_per_point"] = (_loopback_bytes() - traffic) / outcome.points_acknowledged
    values["commits_per_s"] = (await parts.database.fetchval(_LAST_COMMIT) - commits) / outcome.seconds
    values["hot_bytes_per_point"] = await parts.database.fetchval(_HOT_POINT_BYTES)
    latencies = sorted(outcome.ack_latencies_s)
    values["ack_p50_ms"] = 1000 * statistics.median(latencies)
    values["ack_p99_ms"] = 1000 * latencies[int(len(latencies) * 0.99)]
    return outcome


def _loopback_bytes() -> int:
    """Sent on the loopback device, both ways and with all headers. Nothing but the workers uses it here: PostgreSQL is
    reached through a unix socket."""
    return sum(nic.bytes_sent for name, nic in psutil.net_io_counters(pernic=True).items() if name.startswith("lo"))


async def _finish(address: str, run_id: str) -> None:
    """Merges small segments of a run as soon as the run has ended."""
    async with grpc.aio.insecure_channel(address) as channel:
        request = run_pb2.FinishRunRequest(run_id=run_id, status=run_pb2.RUN_STATUS_FINISHED)
        await run_pb2_grpc.RunServiceStub(channel).FinishRun(request)


async def _merged(parts: Started) -> None:
    give_up = time.monotonic() + _MERGE_TIMEOUT_S
    while await parts.database.fetchval(_SMALL_ONES):
        if time.monotonic() > give_up:
            raise RuntimeError(f"segments were not merged within {_MERGE_TIMEOUT_S:.0f} s")
        await asyncio.sleep(0.25)


def _print(values: Values, console: Console) -> None:
    table = Table("what", "measured", title=f"runstream bench --workers {values['workers']:.0f}", title_justify="left")
    table.columns[1].justify = "right"
    for label, key, unit in _ROWS:
        table.add_row(label, f"{values[key]:,.{0 if values[key] > 1000 else 2}f} {unit}")
    table.add_row("every point stored once", "yes" if values["rows_exact"] else "NO")
    console.print(table)


_ROWS = (
    ("points", "points_per_s", "points/s"),
    ("group commits", "commits_per_s", "commits/s"),
    ("time to acknowledgement, p50", "ack_p50_ms", "ms"),
    ("time to acknowledgement, p99", "ack_p99_ms", "ms"),
    ("CPU of the service", "service_cpu_cores", "cores"),
    ("CPU of PostgreSQL", "postgres_cpu_cores", "cores"),
    ("CPU of the service", "service_cpu_s_per_million_points", "s/million points"),
    ("CPU of PostgreSQL", "postgres_cpu_s_per_million_points", "s/million points"),
    ("memory of the service, most", "rss_max_mb", "MB"),
    ("of it for a worker that is silent", "rss_kb_per_worker", "kB"),
    ("on the network, both ways", "wire_bytes_per_point", "bytes/point"),
    ("log of PostgreSQL (WAL)", "wal_bytes_per_point", "bytes/point"),
    ("written to tables and indexes", "page_bytes_per_point", "bytes/point"),
    ("a hot point", "hot_bytes_per_point", "bytes"),
)
