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

from runstream_service.bench.durability import report, scenarios
from runstream_service.bench.durability.cells import Cell, Result, our_python, readable
from runstream_service.bench.durability.names import SCENARIOS
from runstream_service.bench.durability.scenarios import Scenario
from runstream_service.bench.durability.small_disk import small_disk
from runstream_service.bench.durability.trackers import Places, Tracker, all_trackers
from runstream_service.bench.mlflow_servers import NotInstalled
from runstream_service.bench.progress import say

# Cells that work at the same time. More, and trackers would be measured that are short of a processor.
_AT_A_TIME = 3


def run(*, only: Collection[str], wanted: Collection[str], scale: float, as_json: bool, write: Path | None) -> int:
    """Compare; print or write; 1 if runstream lost, doubled or changed a point that it promises to keep."""
    trackers = [tracker for name, tracker in all_trackers().items() if not only or name in only]
    chosen = [scenarios.ALL[name] for name in SCENARIOS if not wanted or name in wanted]
    installed, missing = _install(trackers)
    results = uvloop.run(_all_cells(installed, chosen, scale))
    found = report.Report(tuple(installed), missing, tuple(results), scale)
    if as_json:
        sys.stdout.write(json.dumps(found.as_json()) + "\n")
    else:
        found.print(Console())
    if write is not None:
        from runstream_service.bench.durability.page import write_tables

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


async def _all_cells(trackers: Sequence[Tracker], chosen: Sequence[Scenario], scale: float) -> list[Result]:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):  # what was started is ended
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    cells = [(tracker, scenario) for scenario in chosen for tracker in trackers if scenario.suits(tracker)]
    one_by_one = asyncio.Semaphore(1)
    results = [await _cell(*cell, one_by_one, scale) for cell in cells if cell[1].alone]
    # The long ones first: they mostly wait.
    slots = asyncio.Semaphore(_AT_A_TIME)
    rest = sorted((cell for cell in cells if not cell[1].alone), key=lambda cell: not cell[1].long)
    results += await asyncio.gather(*(_cell(*cell, slots, scale) for cell in rest))
    order = [(tracker.name, scenario.name) for tracker, scenario in cells]
    return sorted(results, key=lambda result: order.index((result.tracker, result.scenario)))


async def _cell(tracker: Tracker, scenario: Scenario, slots: asyncio.Semaphore, scale: float) -> Result:
    """A tracker that cannot go on says why in its cell; the others go on."""
    async with slots:
        say(f"{scenario.name}: {tracker.name}")
        with tempfile.TemporaryDirectory(prefix="runstream-bench-", ignore_cleanup_errors=True) as name:
            directory = Path(name)
            readable(directory)
            try:
                result = await _measure(tracker, scenario, directory, slots, scale)
            except (RuntimeError, OSError) as error:
                result = Result(tracker.name, scenario.name, why=str(error))
        say(f"{scenario.name}: {tracker.name}: {report.brief(result)}")
        return result


async def _measure(
    tracker: Tracker, scenario: Scenario, directory: Path, slots: asyncio.Semaphore, scale: float
) -> Result:
    programs = tracker.programs()
    python = programs / "python" if tracker.packages else our_python()
    with small_disk(directory / "local") if scenario.small_disk else contextlib.nullcontext(directory) as local:
        stack = await tracker.start(Places(programs, directory, local))
        cell = Cell(tracker, stack, directory, local, python, slots, scale)
        try:
            await stack.start()
            await scenario.run(cell)
            return await cell.result(scenario.name, scenario.settle_s)
        finally:
            await cell.close()
