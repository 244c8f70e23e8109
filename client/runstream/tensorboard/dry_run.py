"""Finds out which runs a directory would become, without a service and without changing anything."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from runstream.tensorboard.chunks import read_chunk
from runstream.tensorboard.events import EventReader
from runstream.tensorboard.layout import Layout, find_event_files


@dataclass
class Found:
    """One rank of a run."""

    run: str
    rank: int
    files: int = 0
    points: int = 0
    keys: set[str] = field(default_factory=set)
    params: set[str] = field(default_factory=set)


@dataclass
class Plan:
    """The runs and ranks of a directory, and what is damaged or left out."""

    found: list[Found]
    problems: list[str]


def plan(logdir: Path, layout: Layout) -> Plan:
    """Reads all event files of a directory."""
    problems: dict[str, str] = {}
    found: dict[tuple[str, int], Found] = {}
    for path in sorted(find_event_files(logdir, problems)):
        place = layout.place(path)
        if place is None:
            problems[str(logdir / path)] = "left out, as the pattern of --run-from or --rank-from does not match"
            continue
        one = found.setdefault(place, Found(*place))
        one.files += 1
        try:
            problem = _add(logdir / path, one)
        except OSError as error:
            problem = error.strerror or str(error)
        if problem:
            problems[str(logdir / path)] = problem
    return Plan(
        [one for _, one in sorted(found.items()) if one.points or one.params],
        [f"{where}: {why}" for where, why in problems.items()],
    )


def _add(path: Path, one: Found) -> str:
    reader, damage, offset, size = EventReader(), [], 0, path.stat().st_size
    while offset < size:
        contents = read_chunk(path, offset, size, reader)
        if not contents.end:
            break
        offset += contents.end
        one.points += len(contents.points)
        one.params.update(contents.params)
        damage += contents.damage
    one.keys.update(reader.keys)
    return f"{len(damage)} damaged places; the first one: {damage[0].what}" if damage else ""
