"""agent.json, and the status of a directory as an operator sees it, with or without an agent."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Container
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from runstream._version import VERSION
from runstream.journal import Directory, Position
from runstream.journal.check import JournalCheck, check_journal
from runstream.journal.files import OS_FILES, replace_file
from runstream.journal.layout import NEW_PREFIX

if TYPE_CHECKING:
    from runstream._endpoint import Endpoint
    from runstream.transport.transport import Transport

_WRITE_S = 1.0


class StatusFile:
    """Writes agent.json, at most once a second."""

    def __init__(self, directory: Directory, transport: Transport, stays: bool) -> None:
        self._directory = directory
        self._transport = transport
        self._stays = stays
        self._started_unix_us = time.time_ns() // 1000
        self._written_s = 0.0
        self._points: dict[str, int] = {}  # acknowledged points by endpoint, as written last

    def write(self) -> None:
        """Writes the file if it is due. Never raises."""
        now_s = time.monotonic()
        if now_s - self._written_s >= _WRITE_S:
            passed_s, self._written_s = now_s - self._written_s, now_s
            self._write(self._content(passed_s))

    def close(self) -> None:
        """Writes the file for the last time, as the agent ends."""
        self._write({**self._content(1.0), "ended_unix_us": time.time_ns() // 1000})

    def _write(self, content: dict[str, Any]) -> None:
        path = self._directory.agent_status_path
        data = json.dumps(content, indent=1).encode()
        with contextlib.suppress(OSError):
            replace_file(OS_FILES, path, path.with_name(NEW_PREFIX + path.name), [data], durable=False)

    def _content(self, passed_s: float) -> dict[str, Any]:
        feeds = self._transport.feeds()
        addresses: dict[str, Any] = {}
        for stream in self._transport.streams():
            name = _name_of(stream.endpoint, addresses)
            points = stream.acknowledged_points
            rate = (points - self._points.get(name, 0)) / max(passed_s, 0.001)
            self._points[name] = points
            addresses[name] = {
                "state": stream.state,
                "streams_opened": stream.streams,
                "last_error": stream.last_error,
                "acknowledged_points": points,
                "points_per_s": round(max(0.0, rate), 1),
            }
        return {
            "pid": os.getpid(),
            "version": VERSION,
            "started_unix_us": self._started_unix_us,
            "updated_unix_us": time.time_ns() // 1000,
            "stays": self._stays,
            "addresses": addresses,
            "journals": {
                feed.id: {
                    "run_id": feed.creation.run_id,
                    "rank": feed.creation.rank,
                    "address": feed.address,
                    "points_waiting": feed.producer.waiting_points,
                    "more_on_disk": not feed.at_end,
                    "pending_calls": feed.calls.pending,
                    "last_error": feed.notices.last_error,
                }
                for feed in feeds
            },
            "unusable": {str(path): why for path, why in self._transport.unusable().items()},
        }


def _name_of(endpoint: Endpoint, taken: Container[str]) -> str:
    """The name of an endpoint: its address, and if several endpoints have it, what distinguishes them."""
    name, number = endpoint.address, 1
    if name in taken and endpoint.credentials.workspace:
        name = f"{name} ({endpoint.credentials.workspace})"
    while name in taken:
        number += 1
        name = f"{endpoint.address} (token {number})"
    return name


@dataclass
class JournalStatus:
    """The status of one journal, as its files say."""

    id: str
    path: str
    run_id: str
    run_name: str
    experiment: str
    rank: int
    attempt: int
    address: str
    host: str
    writer: str  # alive, finished or dead
    run_state: str  # as in Position
    points_waiting: int
    acknowledged_points: int
    refused: dict[str, int]
    lost_acknowledged: int
    end_is_set: bool
    bytes: int
    last_error: str
    damage: list[str]
    problem: str  # why it cannot be read, or is damaged; empty if it is fine


@dataclass
class DirectoryStatus:
    """The status of a directory. `agent` is the content of agent.json, if an agent runs or has run."""

    path: str
    reason: str
    agent_runs: bool
    agent_pid: int
    agent: dict[str, Any]
    journals: list[JournalStatus]
    total_bytes: int
    limit_bytes: int

    def as_json(self) -> str:
        """The status as one JSON object."""
        return json.dumps(asdict(self), indent=1)


def read_status(directory: Directory) -> DirectoryStatus:
    """Reads the status of a directory from its files, so that it works without an agent."""
    runs = directory.agent_runs()
    return DirectoryStatus(
        path=str(directory.path),
        reason=directory.reason,
        agent_runs=runs,
        agent_pid=directory.agent_pid() if runs else 0,
        agent=directory.read_agent_status(),
        journals=[journal_status(check_journal(path)) for path in sorted(directory.journals())],
        total_bytes=directory.total_bytes(),
        limit_bytes=directory.limit_bytes,
    )


def journal_status(found: JournalCheck) -> JournalStatus:
    """The status of a journal that was checked."""
    position = found.position or Position()
    create = found.create
    size = 0
    with contextlib.suppress(OSError):
        size = sum(file.stat().st_size for file in found.path.glob("*.seg"))
    return JournalStatus(
        id=found.id,
        path=str(found.path),
        run_id=found.run_id,
        run_name=found.name,
        experiment=str(create.get("experiment") or ""),
        rank=found.rank,
        attempt=found.attempt,
        address=str(create.get("address") or ""),
        host=str(create.get("host") or ""),
        writer="finished" if found.finished else "alive" if found.writer_alive else "dead",
        run_state=position.run_state,
        points_waiting=found.waiting_points,
        acknowledged_points=position.acknowledged_points,
        refused=dict(position.refused),
        lost_acknowledged=position.lost_acknowledged,
        end_is_set=position.finished,
        bytes=size,
        last_error=position.last_error,
        damage=[f"{one.file}: {one.length} bytes at {one.offset}: {one.what}" for one in found.damage],
        problem=_problem(found),
    )


def _problem(found: JournalCheck) -> str:
    if found.error:
        return found.error
    if not found.create:
        return "its CREATE record is damaged, so its run is unknown"
    if found.is_damaged:
        missing = f", {found.missing_batches} batches are missing" if found.missing_batches else ""
        return f"it is damaged{missing}"
    return ""
