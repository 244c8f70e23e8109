"""`runstream sync`: sends what is left in journals, and then ends.

The path is a directory of runstream, one of its layouts, a single journal, or a copy of any of these from another
machine. Batches keep their producer ids and numbers, so the service recognises what was sent from another copy, and
does not store it again. Nothing is deleted; the position of each journal is saved in it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runstream._endpoint import check_address
from runstream.journal import Directory
from runstream.journal.check import JournalCheck, check_journal, find_journals
from runstream.journal.directory import LAYOUT

_DRAINED_AGAIN_S = 0.5  # with a living writer, nothing must have been left to send for this long


class CannotSync(Exception):
    """The path cannot be synced; the message says why and what to do."""


@dataclass
class JournalResult:
    """What became of one journal."""

    path: Path
    run_id: str
    rank: int
    points: int  # how many waited when the sync began
    stored: int = 0
    refused: dict[str, int] = field(default_factory=dict)  # points by reason
    waiting: int = 0  # how many points are left
    finished: bool = False  # everything is settled, including the run's end
    error: str = ""
    damage: str = ""
    last_error: str = ""


@dataclass
class Result:
    """What became of all journals."""

    journals: list[JournalResult]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether everything is stored: nothing was refused, damaged or left."""
        return not any(one.refused or one.waiting or one.error or one.damage for one in self.journals)

    def lines(self) -> list[str]:
        """The lines of a summary."""
        stored = sum(one.stored for one in self.journals)
        lines = [f"{stored:,} points of {len(self.journals)} journals stored in {self.seconds:.1f} s"]
        for one in self.journals:
            about = f"run {one.run_id or '?'} rank {one.rank} ({one.path}): "
            problems = [f"{count:,} points refused ({reason})" for reason, count in sorted(one.refused.items())]
            if one.waiting:
                problems.append(f"{one.waiting:,} points left; last error: {one.last_error or 'none'}")
            problems += [text for text in (one.error, one.damage) if text]
            lines += [about + "; ".join(problems)] if problems else []
            if not one.finished and not problems:
                lines.append(about + "everything so far is stored; the run has not ended, so it stays RUNNING")
        return lines


def check_path(path: Path) -> list[JournalCheck]:
    """Checks the journals below a path. Raises CannotSync if there are none."""
    try:
        paths = find_journals(path)
    except FileNotFoundError as error:
        raise CannotSync(f"{error}: name a directory of runstream, a journal, or a copy of one") from error
    if not paths:
        raise CannotSync(f"{path} has no journals: name a directory of runstream, a journal, or a copy of one")
    return [check_journal(each) for each in paths]


def sync(
    path: Path,
    address: str = "",
    *,
    progress: Callable[[int, int], None] = lambda stored, total: None,
    timeout_s: float | None = None,
) -> Result:
    """Sends what is left in the journals below a path; returns when nothing is left, or after `timeout_s` seconds.
    `progress` is called with the number of points that are settled, and that waited at the beginning. Raises
    CannotSync."""
    from runstream.transport.endpoints import Endpoints
    from runstream.transport.transport import Transport

    begun_s = time.monotonic()
    found = check_path(path)
    results = [_begin(one) for one in found]
    usable = [one.path for one, result in zip(found, results, strict=True) if not result.error]
    for each in usable:
        if not os.access(each, os.R_OK | os.W_OK | os.X_OK):
            raise CannotSync(f"{each} cannot be written, but its position has to be saved in it: sync a copy of it")
    with _alone(usable):
        endpoints = Endpoints(check_address(address) if address else "", prefers_own=True)
        transport = Transport(paths=usable, endpoints=endpoints, keep=True, writer_may_live=_is_of_another_host)
        transport.start()
        try:
            _drain(transport, found, progress, timeout_s)
        finally:
            transport.stop()
        for one, result in zip(found, results, strict=True):
            if not result.error:
                _end(one, result)
    return Result(results, time.monotonic() - begun_s)


def _begin(found: JournalCheck) -> JournalResult:
    result = JournalResult(found.path, found.run_id, found.rank, found.waiting_points)
    result.error = found.error or ("" if found.create else "its CREATE record is damaged, so its run is unknown")
    if found.is_damaged and not result.error:
        missing = f", {found.missing_batches:,} batches are missing" if found.missing_batches else ""
        result.damage = f"the journal is damaged{missing}; the rest of it was sent"
    return result


def _end(before: JournalCheck, result: JournalResult) -> None:
    after = check_journal(result.path)
    if after.position is None:
        result.waiting = after.waiting_points
        return
    earlier = before.position
    result.run_id = after.run_id
    result.stored = after.position.acknowledged_points - (earlier.acknowledged_points if earlier else 0)
    was_refused = earlier.refused if earlier else {}
    refused = {reason: count - was_refused.get(reason, 0) for reason, count in after.position.refused.items()}
    result.refused = {reason: count for reason, count in refused.items() if count > 0}
    result.waiting = after.waiting_points
    result.finished = after.position.finished
    result.last_error = after.position.last_error
    if after.position.end_refused:
        result.error = "the service refused the end of the run"


def _drain(
    transport: Any, found: list[JournalCheck], progress: Callable[[int, int], None], timeout_s: float | None
) -> None:
    total = sum(one.waiting_points for one in found)
    begun_s = time.monotonic()
    drained_s: float | None = None
    while timeout_s is None or time.monotonic() - begun_s < timeout_s:
        settled = sum(
            feed.settled.acknowledged_points + sum(feed.settled.refused.values()) for feed in transport.feeds()
        )
        before = sum(
            one.position.acknowledged_points + sum(one.position.refused.values()) for one in found if one.position
        )
        progress(min(total, settled - before), total)
        if transport.over():
            return
        # A journal without an end, of a writer that lives or of another machine, is never over.
        if not transport.drained() or not all(_only_lacks_its_end(feed) for feed in transport.feeds()):
            drained_s = None
        elif drained_s is None:
            drained_s = time.monotonic()
        elif time.monotonic() - drained_s > _DRAINED_AGAIN_S:
            return
        time.sleep(0.05)


def _only_lacks_its_end(feed: Any) -> bool:
    return bool(feed.over or (not feed.calls.has_finish and (feed.writer_may_live or feed.journal.writer_alive())))


def _is_of_another_host(create: dict[str, Any]) -> bool:
    """Whether the journal is from another machine, where its writer may still live. (The service ends silent runs
    itself.)"""
    return str(create.get("host") or "") != socket.gethostname()


@contextlib.contextmanager
def _alone(paths: list[Path]) -> Iterator[None]:
    """A block in which no agent sends these journals: two senders would fence each other."""
    locks = []
    directories = {path.parents[2] for path in paths if path.parts[-3:-1] == (LAYOUT, "journals")}
    try:
        for each in sorted(directories):
            directory = Directory(each)
            lock = directory.agent_lock()
            if lock is None:
                raise CannotSync(
                    f"an agent (pid {directory.agent_pid()}) already sends the journals of {each}: wait for it (see "
                    "`runstream agent status`), or end it first"
                )
            locks.append(lock)
        yield
    except OSError as error:
        raise CannotSync(
            f"{error}: the directory must be writable, since each journal's position is saved in it"
        ) from error
    finally:
        for lock in locks:
            lock.release()
