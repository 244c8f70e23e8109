"""Results in a file, a JSON object a line, so that a comparison which was interrupted goes on, and parts add up."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from runstream_bench.durability.cells import Result
from runstream_bench.durability.counting import Counts


class Kept:
    """The file of results, or none."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def add(self, result: Result) -> None:
        """At its end. A cell that failed is not kept: it is tried again."""
        if self._path is not None and result.counts is not None:
            with self._path.open("a") as file:
                file.write(json.dumps(asdict(result)) + "\n")

    def results(self) -> list[Result]:
        """The last result of each tracker and scenario."""
        if self._path is None or not self._path.exists():
            return []
        found: dict[tuple[str, str], Result] = {}
        for line in self._path.read_text().splitlines():
            values = json.loads(line)
            counts = values.pop("counts")
            result = Result(**values, counts=Counts(**{**counts, "examples": tuple(counts["examples"])}))
            found[result.tracker, result.scenario] = result
        return list(found.values())
