"""`runstream bench --fairness`: how long acks of one workspace take while another one overloads the service.

Four streams send a small batch ten times a second. Meanwhile 200 streams of another workspace send as fast as they are
acknowledged, from a process of their own. For comparison, the same four streams do it in the busy workspace, too.

Once with all that the machine can do, where the load takes a part of the processor that the service needs (on machines
of its own it would not, so it has a low priority); and once with a database that is ten times slower, where nothing is
short but commits.
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

import uvloop
from rich.console import Console
from rich.table import Table

from runstream_bench import report
from runstream_bench.fault_parts import slowed
from runstream_bench.load import Load, Metadata, push
from runstream_bench.load_process import METADATA
from runstream_bench.progress import say
from runstream_bench.session import NO_ROLL_UP, Started, started
from runstream_service.auth.access import Access
from runstream_service.auth.operator import operator_in
from runstream_service.core.caller import Role
from runstream_service.database.postgres_files import read_postmaster

QUIET = Load(streams=4, batch_points=100, pause_s=0.1, connections=1)
FLOOD = Load(streams=200, batch_points=250)
_OVERLOADED_AFTER_S = 2.0
_LOW_PRIORITY = ("nice", "-n", "10")
SLOW = "slow_database_"

Values = dict[str, float | bool]
Latencies = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class _Flood:
    """The result of the overload."""

    points: int
    points_per_s: float


@dataclass(frozen=True, slots=True)
class _Round:
    """The figures of one round."""

    latencies_s: Latencies
    flood_points_per_s: float
    acknowledged: int  # points


def run(*, seconds: float, pairs: int, as_json: bool) -> int:
    """Measures and prints. Returns the exit code: 1 if the table does not hold exactly what was acknowledged."""
    values = uvloop.run(measure(seconds, pairs, say))
    if as_json:
        sys.stdout.write(report.as_json(values) + "\n")
    else:
        _print(values, Console())
    return 0 if values["rows_exact"] else 1


async def measure(seconds: float, pairs: int, say: Callable[[str], None]) -> Values:
    """The figures of all rounds together, and the median of their ratios."""
    rounds: dict[str, list[_Round]] = {"": [], SLOW: []}
    rows_exact = True
    async with started(say, *NO_ROLL_UP, "--auth", "on") as parts:
        callers = await _caller_of(parts, "quiet"), await _caller_of(parts, "busy")
        await push(parts.address, QUIET, 1.0, metadata=callers[0])  # makes the connections and the first epoch
        await parts.database.execute("TRUNCATE hot_batches, commits")
        for number in range(1, pairs + 1):
            for kind, of_kind in rounds.items():
                say(f"round {number} of {pairs}{', with a slow database' if kind else ''}")
                with slowed(_postmaster(parts)) if kind else contextlib.nullcontext():
                    one = await _round(parts.address, *callers, seconds)
                of_kind.append(one)
                rows_exact &= await parts.database.fetchval("SELECT sum(point_count) FROM commits") == one.acknowledged
                await parts.database.execute("TRUNCATE hot_batches, commits")
    values = {f"{kind}{name}": value for kind, of in rounds.items() for name, value in _values(of).items()}
    return {**values, "rows_exact": rows_exact}


def _postmaster(parts: Started) -> int:
    postmaster = read_postmaster(parts.directory / "postgres")
    assert postmaster is not None
    return postmaster.pid


async def _round(address: str, quiet: Metadata, busy: Metadata, seconds: float) -> _Round:
    outcomes = {"idle": await push(address, QUIET, seconds, metadata=quiet)}
    overloaded_after_s = min(_OVERLOADED_AFTER_S, seconds)
    async with _flood(address, busy, 2 * seconds + overloaded_after_s) as flood:
        await asyncio.sleep(overloaded_after_s)
        for name, metadata in (("overload", quiet), ("same_workspace", busy)):
            outcomes[name] = await push(address, QUIET, seconds, metadata=metadata)
        flooded = await flood
    acknowledged = flooded.points + sum(one.points_acknowledged for one in outcomes.values())
    return _Round({name: one.ack_latencies_s for name, one in outcomes.items()}, flooded.points_per_s, acknowledged)


async def _caller_of(parts: Started, workspace: str) -> Metadata:
    """Metadata with a token of a new workspace."""
    access = Access.of(parts.database, is_on=True)
    await access.workspaces.create(await operator_in(access, "default"), workspace)
    made = await access.tokens.create(await operator_in(access, workspace), "bench", Role.WRITE)
    return [("authorization", f"Bearer {made.text}")]


@contextlib.asynccontextmanager
async def _flood(address: str, caller: Metadata, seconds: float) -> AsyncIterator[asyncio.Future[_Flood]]:
    """Runs the overload during the block; its result is there at the end of the block."""
    arguments = (FLOOD.streams, FLOOD.batch_points, FLOOD.connections, seconds)
    process = await asyncio.create_subprocess_exec(
        *_LOW_PRIORITY, sys.executable, "-m", "runstream_bench.load_process", address, *map(str, arguments),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        env={**os.environ, METADATA: json.dumps(list(caller))},
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        await process.stdout.readline()  # "open"
        process.stdin.write(b"go\n")
        yield asyncio.ensure_future(_outcome(process.stdout))
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _outcome(output: asyncio.StreamReader) -> _Flood:
    values = json.loads(await output.readline())
    return _Flood(values["points"], values["points"] / values["seconds"])


def _values(rounds: list[_Round]) -> Values:
    values: Values = {"overload_points_per_s": statistics.median(one.flood_points_per_s for one in rounds)}
    for name in ("idle", "overload", "same_workspace"):
        for percent in (50, 99):
            of_rounds = [_percentile(one.latencies_s[name], percent) for one in rounds]
            values[f"ack_p{percent}_ms_{name}"] = 1000 * statistics.median(of_rounds)
            # The ratio of each round, not of the medians: the speed of the machine changes between rounds.
            idle = [_percentile(one.latencies_s["idle"], percent) for one in rounds]
            ratios = [loaded / alone for loaded, alone in zip(of_rounds, idle, strict=True)]
            values[f"ack_p{percent}_ratio_{name}"] = statistics.median(ratios)
    return values


def _percentile(latencies: list[float], percent: int) -> float:
    ordered = sorted(latencies)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def _print(values: Values, console: Console) -> None:
    for kind, title in (("", "runstream bench --fairness"), (SLOW, "the same with a slow database")):
        table = Table("acks of four streams", "p50", "p99", "p99 to idle", title=title)
        for column in table.columns[1:]:
            column.justify = "right"
        for name, label in (
            ("idle", "alone"),
            ("overload", "while another workspace overloads the service"),
            ("same_workspace", "in the workspace that overloads it"),
        ):
            table.add_row(
                label,
                f"{values[f'{kind}ack_p50_ms_{name}']:.1f} ms",
                f"{values[f'{kind}ack_p99_ms_{name}']:.1f} ms",
                f"{values[f'{kind}ack_p99_ratio_{name}']:.1f}",
            )
        console.print(table)
        rate = values[f"{kind}overload_points_per_s"]
        console.print(f"200 streams of the other workspace: {rate:,.0f} points/s", highlight=False)
