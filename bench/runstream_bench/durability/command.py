"""`runstream bench --durability`: cells, some at a time, then the tables."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

import uvloop
from rich.console import Console

from runstream_bench.durability import report, scenarios
from runstream_bench.durability.cells import Cell, Result, our_python, readable
from runstream_bench.durability.kept import Kept
from runstream_bench.durability.names import SCENARIOS
from runstream_bench.durability.scenarios import Scenario
from runstream_bench.durability.small_disk import small_disk
from runstream_bench.durability.trackers import Places, Tracker, all_trackers
from runstream_bench.mlflow_servers import NotInstalled
from runstream_bench.progress import say

# Cells that work at the same time. More, and trackers would be measured that are short of a processor.
_AT_A_TIME = 3


def run(
    *,
    only: Collection[str],
    wanted: Collection[str],
    scale: float,
    as_json: bool,
    write: Path | None,
    keep: Path | None,
) -> int:
    """Compare; print or write; 1 if runstream lost, doubled or changed a point that it promises to keep.

    Results are added to the file `keep`, one by one; what it has already is not measured again.
    """
    trackers = [tracker for name, tracker in all_trackers().items() if not only or name in only]
    chosen = [scenarios.ALL[name] for name in SCENARIOS if not wanted or name in wanted]
    installed, missing = _install(trackers)
    kept = Kept(keep)
    results = uvloop.run(_all_cells(installed, chosen, scale, kept))
    found = report.Report(tuple(installed), missing, tuple(results), scale)
    if as_json:
        sys.stdout.write(json.dumps(found.as_json()) + "\n")
    else:
        found.print(Console())
    if write is not None:
        from runstream_bench.durability.page import write_tables

        write_tables(write, found)
    return 0 if found.ours_is_exact else 1


def _install(trackers: Sequence[Tracker]) -> tuple[list[Tracker], dict[str, str]]:
    """What can be had here, and for the others why not."""
    installed: list[Tracker] = []
    missing: dict[str, str] = {}
    for tracker in trackers:
        if tracker.packages:
            say(f"{tracker.name}: an environment with {tracker.versions()}; made once")
        try:
            tracker.programs()
        except NotInstalled as error:
            say(f"without {tracker.name}, which cannot be installed here: {error}")
            missing[tracker.name] = str(error)
        else:
            installed.append(tracker)
    return installed, missing


async def _all_cells(trackers: Sequence[Tracker], chosen: Sequence[Scenario], scale: float, kept: Kept) -> list[Result]:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):  # what was started is ended
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    cells = [(tracker, scenario) for scenario in chosen for tracker in trackers if scenario.suits(tracker)]
    order = [(tracker.name, scenario.name) for tracker, scenario in cells]
    results = [result for result in kept.results() if (result.tracker, result.scenario) in order]
    done = {(result.tracker, result.scenario) for result in results}
    cells = [(tracker, scenario) for tracker, scenario in cells if (tracker.name, scenario.name) not in done]
    one_by_one = asyncio.Semaphore(1)
    results += [await _cell(*cell, one_by_one, scale, kept) for cell in cells if cell[1].alone]
    # The long ones first: they mostly wait.
    slots = asyncio.Semaphore(_AT_A_TIME)
    rest = sorted((cell for cell in cells if not cell[1].alone), key=lambda cell: not cell[1].long)
    # Each ends what it has started, also when all are cancelled: without `return_exceptions`, the first would end all.
    found = await asyncio.gather(*(_cell(*cell, slots, scale, kept) for cell in rest), return_exceptions=True)
    for one in found:
        if isinstance(one, BaseException):
            raise one
        results.append(one)
    return sorted(results, key=lambda result: order.index((result.tracker, result.scenario)))


async def _cell(tracker: Tracker, scenario: Scenario, slots: asyncio.Semaphore, scale: float, kept: Kept) -> Result:
    """A tracker that cannot go on says why in its cell; the others go on."""
    with contextlib.ExitStack() as turn:
        await slots.acquire()
        turn.callback(slots.release)
        say(f"{scenario.name}: {tracker.name}")
        with tempfile.TemporaryDirectory(prefix="runstream-bench-", ignore_cleanup_errors=True) as name:
            directory = Path(name)
            readable(directory)
            try:
                result = await _measure(tracker, scenario, directory, turn, scale)
            except (RuntimeError, OSError) as error:
                result = Result(tracker.name, scenario.name, why=str(error))
        say(f"{scenario.name}: {tracker.name}: {report.brief(result)}")
        kept.add(result)
        return result


async def _measure(
    tracker: Tracker, scenario: Scenario, directory: Path, turn: contextlib.ExitStack, scale: float
) -> Result:
    programs = tracker.programs()
    python = programs / "python" if tracker.packages else our_python()
    with small_disk(directory / "local") if scenario.small_disk else contextlib.nullcontext(directory) as local:
        stack = await tracker.start(Places(programs, directory, local))
        cell = Cell(tracker, stack, directory, local, python, turn, scale)
        try:
            await stack.start()
            await scenario.run(cell)
            return await cell.result(scenario.name, scenario.settle_s)
        finally:
            await cell.close()
