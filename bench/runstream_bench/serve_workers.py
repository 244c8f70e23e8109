"""`runstream bench --serve-workers N`: points a second that N workers of the service take, against one process.

The writers drop the points (dropping.py), so that PostgreSQL is not the limit. Both services run at the same time, on
one PostgreSQL, and have the load in turns, so that both find the machine as busy with other things.

N workers need as many cores, and the load needs some too. On a machine that has fewer, the ratio of the points is that
of a machine that is used up. So the CPU for a million points is measured as well: it says what N workers take on enough
cores. It is a lower bound: a worker that is not busy reads fewer messages at a time, each of which then costs more.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from runstream_bench import report
from runstream_bench.load import Load
from runstream_bench.progress import say
from runstream_bench.server_process import RunstreamProcess
from runstream_bench.service import service, temporary_postgres
from runstream_bench.usage import cpu_seconds
from runstream_service.server import process_tuning

# The kernel distributes connections by chance, so there are many of them.
LOAD = Load(streams=64, batch_points=250, connections=32)
LOAD_PROCESSES = 2
_COMMAND = (sys.executable, "-m", "runstream_bench.dropping")
# Nothing is stored, so there is nothing to roll up.
_OPTIONS = ("--epoch-seconds", "86400")

Values = dict[str, float | bool]


@dataclass(slots=True)
class Round:
    """One round of load on one service."""

    points_per_s: float
    service_cpu_s: float
    load_cpu_s: float
    seconds: float
    points: int
    refused: int


def run(*, workers: int, seconds: float, pairs: int, as_json: bool) -> int:
    """Measures and prints. Returns the exit code: 1 if a point was refused."""
    process_tuning.raise_file_limit()
    values = uvloop.run(measure(workers, seconds, pairs, say))
    if as_json:
        sys.stdout.write(report.as_json(values) + "\n")
    else:
        _print(values, workers, Console())
    return 0 if values["rows_exact"] else 1


async def measure(
    workers: int,
    seconds: float,
    pairs: int,
    say: Callable[[str], None],
    when_started: Callable[[dict[int, RunstreamProcess]], None] = lambda _: None,
) -> Values:
    """The figures of all rounds. `when_started` gets the services by their number of workers."""
    rounds: dict[int, list[Round]] = {1: [], workers: []}
    async with _services(workers) as services:
        when_started(services)
        for number in range(pairs + 1):
            for count, one in services.items():
                what = "warming up" if number == 0 else f"pair {number} of {pairs}"
                say(f"{count} {'workers' if count > 1 else 'process'}, {what}")
                measured = await _round(one, seconds if number else min(seconds, 1.0))
                if number:
                    rounds[count].append(measured)
    return _values(rounds, workers)


@contextlib.asynccontextmanager
async def _services(workers: int) -> AsyncIterator[dict[int, RunstreamProcess]]:
    async with contextlib.AsyncExitStack() as stack:
        postgres = await stack.enter_async_context(temporary_postgres())
        services = {}
        for count in (1, workers):
            options = (*_OPTIONS, "--workers", str(count))
            log = postgres.data_dir / f"service-{count}.log"
            services[count] = await stack.enter_async_context(service(postgres.url, log, *options, command=_COMMAND))
        yield services


async def _round(one: RunstreamProcess, seconds: float) -> Round:
    loads = [await _start_load(one, seconds) for _ in range(LOAD_PROCESSES)]
    process = psutil.Process(one.pid)
    before = _cpu_seconds_of_all(process)
    of_load = [psutil.Process(load.pid) for load in loads]
    load_before = sum(map(cpu_seconds, of_load))
    for load in loads:
        assert load.stdin is not None
        load.stdin.write(b"go\n")
    outcomes = []
    load_cpu_s = -load_before
    for load, its_process in zip(loads, of_load, strict=True):
        assert load.stdout is not None
        outcomes.append(json.loads(await load.stdout.readline()))
        with contextlib.suppress(psutil.NoSuchProcess):
            load_cpu_s += cpu_seconds(its_process)
    service_cpu_s = _cpu_seconds_of_all(process) - before
    for load in loads:
        assert load.stdin is not None
        load.stdin.close()
        await load.wait()
    longest = max(outcome["seconds"] for outcome in outcomes)
    points = sum(outcome["points"] for outcome in outcomes)
    refused = sum(outcome["refused"] for outcome in outcomes)
    return Round(points / longest, service_cpu_s, load_cpu_s, longest, points, refused)


async def _start_load(one: RunstreamProcess, seconds: float) -> asyncio.subprocess.Process:
    """Starts a load; returns when its streams are open."""
    arguments = (LOAD.streams // LOAD_PROCESSES, LOAD.batch_points, LOAD.connections // LOAD_PROCESSES, seconds)
    load = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "runstream_bench.load_process", one.grpc_address, *map(str, arguments),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert load.stdout is not None
    if await load.stdout.readline() != b"open\n":
        raise RuntimeError("the load could not open its streams; its error is above")
    return load


def _cpu_seconds_of_all(process: psutil.Process) -> float:
    return sum(map(cpu_seconds, (process, *process.children(recursive=True))))


def _values(rounds: dict[int, list[Round]], workers: int) -> Values:
    values: Values = {"machine_cores": float(os.cpu_count() or 1)}
    for count, some in rounds.items():
        values[f"points_per_s_{count}"] = statistics.median(one.points_per_s for one in some)
        values[f"service_cpu_s_per_million_points_{count}"] = statistics.median(
            one.service_cpu_s / one.points * 1e6 for one in some
        )
        values[f"load_cpu_s_per_million_points_{count}"] = statistics.median(
            one.load_cpu_s / one.points * 1e6 for one in some
        )
        values[f"service_cores_{count}"] = statistics.median(one.service_cpu_s / one.seconds for one in some)
    pairs = list(zip(rounds[1], rounds[workers], strict=True))
    values["ratio"] = statistics.median(several.points_per_s / one.points_per_s for one, several in pairs)
    values["ratio_on_enough_cores"] = workers * statistics.median(
        (one.service_cpu_s / one.points) / (several.service_cpu_s / several.points) for one, several in pairs
    )
    values["rows_exact"] = not any(one.refused for some in rounds.values() for one in some)
    return values


def _print(values: Values, workers: int, console: Console) -> None:
    title = f"runstream bench --serve-workers {workers}, on {values['machine_cores']:.0f} cores"
    table = Table("what", "1 process", f"{workers} workers", title=title, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for label, key, digits in _ROWS:
        table.add_row(label, *(f"{values[f'{key}_{count}']:,.{digits}f}" for count in (1, workers)))
    table.add_row("points, of one process", "", f"{values['ratio']:.2f}")
    table.add_row("the same, if each worker had a core", "", f"{values['ratio_on_enough_cores']:.2f}")
    console.print(table)


_ROWS = (
    ("points/s", "points_per_s", 0),
    ("CPU of the service, s/million points", "service_cpu_s_per_million_points", 2),
    ("CPU of the load, s/million points", "load_cpu_s_per_million_points", 2),
    ("cores that the service used", "service_cores", 2),
)
