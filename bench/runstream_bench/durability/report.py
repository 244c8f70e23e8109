"""The results: one JSON object for programs, tables for people."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import psutil
from rich import box
from rich.console import Console
from rich.table import Table

from runstream_bench.durability.cells import Result
from runstream_bench.durability.names import SCENARIOS
from runstream_bench.durability.trackers import Tracker

OURS = "runstream"
# A killed process takes what it has not written yet with it, and on a full disk nothing can be written.
_LOSES = ("kill-trainer", "full-disk")
# Calls that take less are not mentioned in tables.
_UNNOTICED_S = 2.0
COLUMNS = ("logged", "lost", "twice", "changed", "refused", "moved", "waited", "longest")


@dataclass(frozen=True)
class Report:
    """All cells of one run of the benchmark."""

    trackers: Sequence[Tracker]
    missing: Mapping[str, str]
    results: Sequence[Result]
    scale: float

    @property
    def ours_is_exact(self) -> bool:
        """Whether runstream kept every point where it says that it does."""
        ours = [result for result in self.results if result.tracker == OURS]
        return all(
            counts is not None
            and not (counts.doubled or counts.changed or counts.invented or counts.refused)
            and (not counts.lost or result.scenario in _LOSES)
            for result in ours
            for counts in (result.counts,)
        )

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {
            "date": date(),
            "machine": machine(),
            "scale": self.scale,
            "versions": {tracker.name: tracker.versions() for tracker in self.trackers},
            "not_installed": dict(self.missing),
            "rows_exact": self.ours_is_exact,
            "cells": [asdict(result) for result in self.results],
        }

    def print(self, console: Console) -> None:
        """A table for each scenario."""
        for scenario, results in self.by_scenario():
            title = f"{scenario}: {SCENARIOS[scenario]}"
            table = Table("", *COLUMNS, title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
            for column in table.columns[1:]:
                column.justify = "right"
            for result in results:
                table.add_row(result.tracker, *row(result))
            console.print(table)
        for result in self.results:
            for error, times in result.errors.items():
                console.print(f"{result.scenario}, {result.tracker}, {times} times: {error}", highlight=False)
        for name, why in self.missing.items():
            console.print(f"{name} could not be installed here: {why}", highlight=False)
        console.print(f"{date()}, {machine()}")

    def by_scenario(self) -> Iterator[tuple[str, list[Result]]]:
        """In the order of `SCENARIOS`."""
        for name in SCENARIOS:
            results = [result for result in self.results if result.scenario == name]
            if results:
                yield name, results


def row(result: Result) -> list[str]:
    """The cells of `COLUMNS`."""
    counts = result.counts
    if counts is None:
        return [f"failed: {result.why.strip().splitlines()[-1][:80]}", *[""] * (len(COLUMNS) - 1)]
    changed = counts.changed + counts.invented
    numbers = (counts.logged, counts.lost, counts.doubled, changed, counts.refused, counts.moved)
    return [*(f"{number:,}" for number in numbers), seconds(result.waited_s), seconds(longest_s(result))]


def longest_s(result: Result) -> float:
    """What the training waited for at most: a call, or the end of its run."""
    return max(result.worst_s, result.finish_s or 0.0)


def brief(result: Result) -> str:
    """What went wrong, in a few words; "all there" if nothing did."""
    counts = result.counts
    if counts is None:
        return f"failed: {result.why.strip().splitlines()[-1][:80]}"
    found = [
        f"{number:,} {what}"
        for number, what in (
            (counts.lost, "lost"),
            (counts.doubled, "twice"),
            (counts.changed + counts.invented, "changed"),
            (counts.refused, "refused"),
            (counts.moved, "moved in time"),
        )
        if number
    ]
    if longest_s(result) >= _UNNOTICED_S:
        found.append(f"training waited {seconds(result.waited_s)}")
    return ", ".join(found) or "all there"


def seconds(value: float) -> str:
    """A duration in the unit that suits it."""
    if value >= 10:
        return f"{value:,.0f} s"
    return f"{value:.1f} s" if value >= 1 else f"{1_000 * value:.{0 if value >= 0.01 else 1}f} ms"


def date() -> str:
    """The date of today."""
    return f"{datetime.now(UTC):%Y-%m-%d}"


def machine() -> str:
    """A description of the machine that all of it ran on."""
    memory = round(psutil.virtual_memory().total / 2**30)
    load = os.getloadavg()[2]
    system = f"{platform.system()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores, {memory} GiB, {system}, load average {load:.0f}"
