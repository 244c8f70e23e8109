"""Compares what a training process logged, by its own notes, with what a tracker has."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

# A stored time is that of the call if it is at most this far from it.
_TIME_SLACK_S = 5.0


class Point(NamedTuple):
    """One that is stored; `value` is `float.hex()`, so that NaN equals NaN and -0.0 does not equal 0.0."""

    run_id: str
    key: str
    rank: int
    step: int
    value: str


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a training process. `seconds` is None if it did not return: the process was killed in it."""

    points: tuple[Point, ...]
    at: float
    seconds: float | None
    refused: bool


@dataclass(slots=True)
class Notes:
    """What a training process wrote down about itself."""

    run_id: str = ""
    init_s: float = 0.0
    failed: str = ""
    calls: list[Call] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    finish_s: float | None = None  # None: it was killed
    told: list[str] = field(default_factory=list)
    others_s: float = 0.0

    @property
    def waited_s(self) -> float:
        """What logging took from training, its beginning apart: all calls, and the end."""
        return sum(call.seconds or 0.0 for call in self.calls) + (self.finish_s or 0.0)


@dataclass(frozen=True, slots=True)
class Counts:
    """Points. `lost`, `changed` are of calls that returned; a refused call raised an exception."""

    logged: int = 0
    lost: int = 0
    doubled: int = 0
    changed: int = 0
    invented: int = 0
    refused: int = 0
    refused_but_stored: int = 0
    moved: int = 0  # at a time that is not that of the call
    examples: tuple[str, ...] = ()


def read_notes(path: Path, rank: int = 0) -> Notes:
    """Raises FileNotFoundError if the process has not begun. A half-written line at the end is left out."""
    notes = Notes()
    begun: dict[int, dict[str, Any]] = {}
    ended: dict[int, dict[str, Any]] = {}
    for line in _whole_lines(path):
        what = json.loads(line)
        if "ready" in what:
            notes.run_id, notes.init_s = what["ready"], what["s"]
        elif "failed" in what:
            notes.failed, notes.init_s = what["failed"], what["s"]
        elif "n" in what:
            begun[what["n"]] = what
        elif "finished" in what:
            notes.told, notes.finish_s, notes.others_s = what["finished"], what["s"], what["others_s"]
        else:
            ended[what.get("returned", what.get("refused"))] = what
    for number, what in begun.items():
        points = tuple(Point(notes.run_id, key, rank, what["step"], value) for key, value in what["values"].items())
        end = ended.get(number, {})
        notes.calls.append(Call(points, what["at"], end.get("s"), "refused" in end))
        if "error" in end:
            notes.errors.append(end["error"])
    return notes


def read_points(path: Path) -> list[tuple[Point, float]]:
    """What programs/reader.py wrote: points with their times in seconds."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [(Point(run, key, rank, step, value), time_us / 1e6) for run, key, rank, step, value, time_us in rows]


def count(calls: Iterable[Call], stored: Iterable[tuple[Point, float]]) -> Counts:
    """Each stored point is taken for one logged point at most, and the same one before a changed one."""
    calls = list(calls)
    left: dict[Point, list[float]] = defaultdict(list)
    for point, at in stored:
        left[point].append(at)
    totals: Counter[str] = Counter()
    missing: list[Point] = []
    known: set[Point] = set()
    # First those that must be there, so that a call that was killed takes nothing from them.
    for call in sorted(calls, key=lambda call: (call.seconds is None, call.refused)):
        returned = call.seconds is not None and not call.refused
        for point in call.points:
            known.add(point)
            totals["logged"] += returned
            totals["refused"] += call.refused
            times = left[point]
            if times:
                at = min(times, key=lambda at: abs(at - call.at))
                times.remove(at)
                totals["refused_but_stored"] += call.refused
                late = call.at + (call.seconds or 0.0) + _TIME_SLACK_S
                totals["moved"] += returned and not call.at - _TIME_SLACK_S <= at <= late
            elif returned:
                missing.append(point)
    totals["doubled"] = sum(len(times) for point, times in left.items() if point in known)
    spare = [point for point, times in left.items() if point not in known for _ in times]
    changed = _changed(missing, spare)
    examples = [f"{was} became {became}" for was, became in changed[:3]]
    totals["changed"] = len(changed)
    totals["lost"] = len(missing) - len(changed)
    totals["invented"] = len(spare) - len(changed)
    gone = Counter(missing) - Counter(was for was, _ in changed)
    examples += [f"{point} is missing" for point in list(gone)[:3]]
    return Counts(**totals, examples=tuple(examples))


def _changed(missing: list[Point], spare: list[Point]) -> list[tuple[Point, Point]]:
    """Pairs of a missing point and one that nobody logged: first with another value, then at another step."""
    pairs: list[tuple[Point, Point]] = []
    for blank in ({"value": ""}, {"step": 0}):
        places: dict[Point, list[Point]] = defaultdict(list)
        for point in spare:
            places[point._replace(**blank)].append(point)
        still_missing = []
        for point in missing:
            if candidates := places[point._replace(**blank)]:
                pairs.append((point, candidates.pop()))
            else:
                still_missing.append(point)
        missing, spare = still_missing, [point for candidates in places.values() for point in candidates]
    return pairs


def _whole_lines(path: Path) -> list[str]:
    text = path.read_text()
    return text[: text.rfind("\n") + 1].splitlines()
