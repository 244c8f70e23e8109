"""Finds event files, and which run and rank each belongs to, from its path below the followed directory."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_RANK = re.compile(r"rank[-_=]?(\d{1,9})", re.IGNORECASE)
# PyTorch's add_hparams writes into a directory of its own below that of the run, named by the time.
_HPARAMS = re.compile(r"\d{9,11}\.\d+")
_MAX_RUN_NAME = 500
_MAX_RANK = 2**31 - 1


class Place(NamedTuple):
    """The run and the rank of a file."""

    run: str
    rank: int


class Layout:
    """`run_pattern` and `rank_pattern` are searched in the file's path below LOGDIR; the first group is the name of the
    run, and the rank. Without them, each directory is a run, except for those called rank_N."""

    def __init__(self, logdir: Path, run_pattern: str = "", rank_pattern: str = "") -> None:
        """Raises ValueError if a pattern is not a regular expression, or has no group."""
        self._root_name = Path(os.path.realpath(logdir)).name or "root"
        self._run = _compiled("--run-from", run_pattern)
        self._rank = _compiled("--rank-from", rank_pattern)

    def place(self, path: str) -> Place | None:
        """The run and rank of a file, from its path below LOGDIR; None if a pattern leaves it out."""
        parts = path.split("/")[:-1]
        if self._rank is None:
            ranks = [int(found[1]) for part in parts if (found := _RANK.fullmatch(part))]
            rank = ranks[-1] if ranks else 0
            parts = [part for part in parts if not _RANK.fullmatch(part)]
        else:
            found = self._rank.search(path)
            if found is None or not (found[1] or "").isdecimal() or int(found[1]) > _MAX_RANK:
                return None
            rank = int(found[1])
            which = path.count("/", 0, found.start(1))  # the directory with the rank does not name the run
            parts = [part for index, part in enumerate(parts) if index != which]
        directories = [part for part in parts if not _HPARAMS.fullmatch(part)]
        if self._run is not None:
            found = self._run.search(path)
            name = found.group(1) if found is not None else None
            return Place(name[:_MAX_RUN_NAME], rank) if name else None
        return Place("/".join(directories)[-_MAX_RUN_NAME:] or self._root_name, rank)


def _compiled(option: str, pattern: str) -> re.Pattern[str] | None:
    if not pattern:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{option} {pattern!r} is not a regular expression: {error}") from error
    if not compiled.groups:
        raise ValueError(f"{option} {pattern!r} has no group: put the part to use in parentheses, as in '([^/]+)/tb'")
    return compiled


def is_event_file(name: str) -> bool:
    """Whether TensorBoard would read a file of this name."""
    return "tfevents" in name and "profile-empty" not in name


def find_event_files(logdir: Path, problems: dict[str, str]) -> Iterator[str]:
    """The paths of all event files below LOGDIR. Links to directories are followed, each directory once. What cannot be
    read is put into `problems`, by path."""
    seen: set[tuple[int, int]] = set()
    waiting = [""]
    while waiting:
        directory = waiting.pop()
        try:
            status = os.stat(logdir / directory)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(logdir / directory) as entries:
                for entry in sorted(entries, key=lambda one: one.name, reverse=True):
                    path = f"{directory}/{entry.name}" if directory else entry.name
                    if entry.is_dir():
                        waiting.append(path)
                    elif is_event_file(entry.name) and entry.is_file():
                        yield path
        except FileNotFoundError as error:
            if not directory:
                problems[str(logdir)] = error.strerror or str(error)
        except OSError as error:
            problems[str(logdir / directory)] = error.strerror or str(error)
