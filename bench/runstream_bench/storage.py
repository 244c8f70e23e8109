"""`runstream bench --storage`: how points are rolled up, and how fast they are read, while writing and at rest."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
import uuid
from collections.abc import Callable

import grpc
import uvloop
from rich.console import Console
from rich.table import Table

from runstream.v1 import run_pb2, run_pb2_grpc
from runstream_bench import report
from runstream_bench import storage_data as data
from runstream_bench.load import Load, Outcome, push
from runstream_bench.progress import say
from runstream_bench.raw_copy import raw_copy
from runstream_bench.rollup_cost import points_per_s_core
from runstream_bench.session import SATURATING, Started, started
from runstream_bench.storage_reads import Reader, repeated, while_loading
from runstream_bench.tail_latency import log_to_tail_ms, sending_to_tail_ms
from runstream_bench.yardsticks import bytes_per_point
from runstream_service.retention.command import collect

# So long do the waits of the fill, of the live tail and of the deletion last at most. The sustained load closes its
# last epoch itself.
_EPOCH_SECONDS = "5"
_TAIL_LOAD = Load(streams=20, batch_points=500, pause_s=0.1)  # 100,000 points/s
_TAIL_SECONDS = 15.0
_RAW_COPY_SECONDS = 5.0

_STORED = "SELECT coalesce(sum(point_count), 0) FROM metric_segments"
_LEFT = "SELECT count(*) FROM metric_segments WHERE series_id = ANY ($1)"
_BYTES = "SELECT pg_total_relation_size('metric_segments') + pg_total_relation_size('latest_values')"

Values = dict[str, float | bool]


def run(*, scale: float, as_json: bool) -> int:
    """Measures and prints. Returns the exit code: 1 if a point is missing."""
    values = uvloop.run(_measure(scale, say))
    if as_json:
        sys.stdout.write(report.as_json(values) + "\n")
    else:
        _print(values, Console())
    return 0 if values["rows_exact"] else 1


async def _measure(scale: float, say: Callable[[str], None]) -> Values:
    values: Values = {}
    options = ("--epoch-seconds", _EPOCH_SECONDS, "--purge-after-days", "0")
    async with started(say, *options) as parts:
        say("filling: a long series, ten shorter ones, a thousand runs, a run to delete")
        long = await push(parts.address, data.LONG)
        ten = await push(parts.address, data.TEN)
        many = await data.push_many_runs(parts.address)
        doomed = await push(parts.address, data.doomed(scale))
        await data.rolled_up(parts.database)
        say("the yardstick: COPY of rows alone")
        yardstick = await parts.database.connect_writer()
        try:
            values["raw_copy_points_per_s"] = await raw_copy(yardstick, SATURATING[0], _RAW_COPY_SECONDS)
        finally:
            yardstick.terminate()
        async with grpc.aio.insecure_channel(parts.address) as channel:
            reader = Reader(channel)
            bulk = await _sustained(parts, scale, long.run_id, many.run_ids[0], values, say)
            sent = many.points + sum(outcome.points_acknowledged for outcome in (long, ten, doomed, bulk))
            values["points_stored"] = float(await parts.database.fetchval(_STORED))
            values["rows_exact"] = values["points_stored"] == sent
            say("reading at rest")
            await _reads(reader, long.run_id, ten.run_id, many.run_ids, values)
            say("sizes")
            await _sizes(parts, values)
            say("live tail, under 100,000 points/s and a light load")
            await _tail(parts, values)
            say("deleting a run")
            await _delete(parts, channel, doomed, values)
        say("cost of roll-up")
        values["rollup_points_per_s_core"] = await points_per_s_core(parts.database_url, parts.database)
        values["rss_max_mb"] = max(parts.memory.samples_mb)
    return values


async def _sustained(
    parts: Started,
    scale: float,
    long_run: str,
    small_run: str,
    values: Values,
    say: Callable[[str], None],
) -> Outcome:
    """Push and roll up at once; the clock stops when nothing is hot any more."""
    load = data.sustained(scale)
    say(f"sustained: {load.streams * load.batches * load.batch_points / 1e6:.1f} M points of 4,000 series, with reads")
    outcome: list[Outcome] = []

    async def work() -> None:
        outcome.append(await push(parts.address, load))
        await data.close_epoch(parts.database)
        await data.rolled_up(parts.database)

    before = await parts.meter.read_settled()
    first_sample = len(parts.memory.samples_mb)
    begun = time.perf_counter()
    timed = await while_loading(work(), parts.address, long_run, small_run)
    values["sustained_points_per_s"] = outcome[0].points_acknowledged / (time.perf_counter() - begun)
    values["sustained_ratio"] = values["sustained_points_per_s"] / values["raw_copy_points_per_s"]
    values["ingest_points_per_s"] = outcome[0].points_per_s
    usage = (await parts.meter.read_settled()).since(before)
    values |= usage.per_point(outcome[0].points_acknowledged)
    values["page_bytes_per_point"] = usage.page_bytes / outcome[0].points_acknowledged
    for name, milliseconds in timed.items():
        values[f"{name}_ms_under_load_p50"] = statistics.median(milliseconds)
        values[f"{name}_ms_under_load_p99"] = _percentile(sorted(milliseconds), 0.99)
    samples = parts.memory.samples_mb[first_sample:]
    quarter = max(1, len(samples) // 4)
    values["rss_first_quarter_mb"] = statistics.median(samples[:quarter])
    values["rss_last_quarter_mb"] = statistics.median(samples[-quarter:])
    return outcome[0]


async def _reads(reader: Reader, long_run: str, ten_run: str, many: list[str], values: Values) -> None:
    """Measures reads of data that is in memory; medians."""
    values["chart_ms_one_series"] = statistics.median(await repeated(lambda: reader.chart(long_run), 20))
    values["chart_ms_ten_series"] = statistics.median(await repeated(lambda: reader.chart(ten_run), 10))
    values["history_100k_ms"] = statistics.median(await repeated(lambda: reader.history(ten_run, 3), 10))
    values["latest_1000_runs_ms"] = statistics.median(await repeated(lambda: reader.latest(many), 5))


async def _sizes(parts: Started, values: Values) -> None:
    size = await parts.database.fetchval(_BYTES)
    values["bytes_per_point"] = size / values["points_stored"]
    for name, size in (await bytes_per_point(parts.database)).items():
        values[f"bytes_per_point_{name}"] = size


async def _tail(parts: Started, values: Values) -> None:
    run_id = "b" * 32
    async with grpc.aio.insecure_channel(parts.address) as channel:
        create = run_pb2.CreateRunRequest(run_id=run_id, experiment="bench")
        await run_pb2_grpc.RunServiceStub(channel).CreateRun(create)
    latencies, _ = await asyncio.gather(
        log_to_tail_ms(parts.address, run_id, _TAIL_SECONDS),
        push(parts.address, _TAIL_LOAD, _TAIL_SECONDS + 3),
    )
    values["tail_p50_ms"] = statistics.median(latencies)
    values["tail_p99_ms"] = _percentile(latencies, 0.99)
    latencies = await sending_to_tail_ms(parts.address, run_id, _TAIL_SECONDS)
    values["tail_light_p50_ms"] = statistics.median(latencies)
    values["tail_light_p99_ms"] = _percentile(latencies, 0.99)


async def _delete(parts: Started, channel: grpc.aio.Channel, doomed: Outcome, values: Values) -> None:
    """From the call until no row of the run's points is left: the work (`delete_s`), and with the wait for the epoch
    that was open (`delete_until_gone_s`), which is the service's choice of --epoch-seconds."""
    run_id = uuid.UUID(doomed.run_id)
    series = await parts.database.fetchval("SELECT array_agg(series_id) FROM series WHERE run_id = $1", run_id)
    begun, worked = time.perf_counter(), 0.0
    await run_pb2_grpc.RunServiceStub(channel).DeleteRun(run_pb2.DeleteRunRequest(run_id=doomed.run_id))
    while await parts.database.fetchval(_LEFT, series):
        round_begun = time.perf_counter()
        await collect(parts.database_url, purge_after_days=0)
        worked += time.perf_counter() - round_begun
        await asyncio.sleep(0.1)
    values["delete_s"] = worked
    values["delete_until_gone_s"] = time.perf_counter() - begun


def _percentile(ordered: list[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def _print(values: Values, console: Console) -> None:
    table = Table("what", "measured", "aim", title="runstream bench --storage", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for label, key, unit, aim in _ROWS:
        table.add_row(label, f"{values[key]:,.{0 if values[key] > 1000 else 1}f} {unit}", aim)
    table.add_row("every point stored once", "yes" if values["rows_exact"] else "NO", "yes")
    console.print(table)


_ROWS = (
    ("sustained, until hot is empty", "sustained_points_per_s", "points/s", ""),
    ("as part of COPY of rows alone", "sustained_ratio", "", ">= 0.6"),
    ("roll-up, a core", "rollup_points_per_s_core", "points/s", ">= 2,500,000"),
    ("CPU of the service", "service_cpu_s_per_million_points", "s/million points", ""),
    ("CPU of PostgreSQL", "postgres_cpu_s_per_million_points", "s/million points", ""),
    ("log of PostgreSQL (WAL)", "wal_bytes_per_point", "bytes/point", ""),
    ("written to tables and indexes", "page_bytes_per_point", "bytes/point", ""),
    ("memory of the service, most", "rss_max_mb", "MB", "flat"),
    ("stored, indexes included", "bytes_per_point", "bytes/point", "<= 7.4 at scale 1"),
    ("    rows with a btree", "bytes_per_point_btree_rows", "bytes/point", ""),
    ("    MLflow's table", "bytes_per_point_mlflow", "bytes/point", ""),
    ("chart under load, p99", "chart_ms_under_load_p99", "ms", "<= 100"),
    ("latest of 50 metrics under load, p99", "latest_ms_under_load_p99", "ms", "<= 60"),
    ("chart of 1,000,000 points", "chart_ms_one_series", "ms", "<= 15"),
    ("chart of 10 x 100,000 points", "chart_ms_ten_series", "ms", "<= 80"),
    ("history of 100,000 points", "history_100k_ms", "ms", "< 60"),
    ("latest of 1,000 runs x 50 metrics", "latest_1000_runs_ms", "ms", "<= 100"),
    ("from sending to Tail, light load, p99", "tail_light_p99_ms", "ms", "<= 100"),
    ("from log() to Tail, p99", "tail_p99_ms", "ms", "< 1,000"),
    ("deleting a run", "delete_s", "s", "< 5"),
    ("points stored", "points_stored", "points", ""),
)
