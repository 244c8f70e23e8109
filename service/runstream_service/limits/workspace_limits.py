"""The limits of each workspace: those of the settings, or those that an admin set for the workspace, in the database.

A limit is for the whole service. It is divided equally among the front ends that serve the workspace at the moment, so
that a job whose streams are all with one replica may use all of it. When a further front end begins to serve it, the
parts change within seconds; until then the workspace may use more. Limits are read again equally often.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog

from runstream_service.database.queries import load
from runstream_service.errors.core import CoreError, FileTooLarge, LimitReached
from runstream_service.sharing.current import NO_WORKSPACE

if TYPE_CHECKING:
    from runstream_service.database.pool import Database
    from runstream_service.limits.metrics import LimitMetrics

SQL = load("limits")

log = structlog.get_logger()

REFRESH_S = 3.0
MAX_LIMIT = 10**15
# A front end counts as serving a workspace until this long after its last point, stream or read.
_SERVES_S = 10.0


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a workspace; 0: no limit."""

    points_per_second: int = 0
    streams: int = 0
    concurrent_reads: int = 0
    series_per_run: int = 0
    file_bytes: int = 0

    def __bool__(self) -> bool:
        """Whether there is any limit."""
        return any(getattr(self, name) for name in NAMES)


NAMES = tuple(field.name for field in fields(Limits))
_NAMES_IN_MESSAGES = {
    "points_per_second": "points per second",
    "streams": "open streams",
    "concurrent_reads": "reads at a time",
    "series_per_run": "series per run",
    "file_bytes": "bytes in a file",
}
# These limits are divided among the front ends. The others concern a single run or file.
_DIVIDED = ("points_per_second", "streams", "concurrent_reads")


class WorkspaceLimits:
    """The limits of all workspaces, as this front end knows them. May be used on any thread."""

    def __init__(self, settings: Limits, metrics: LimitMetrics | None = None) -> None:
        self._settings = settings
        self._metrics = metrics
        self._own: Mapping[int, Limits] = {}
        self._front_ends: Mapping[int, int] = {}
        self._parts: dict[int, Limits] = {}  # what `part_of` has worked out since the last refresh
        self._names: Mapping[int, str] = {}
        self._active: dict[int, float] = {}
        self._lasting: Callable[[], Iterable[int]] = tuple
        self._front_end = uuid4()
        self._are_unknown = False
        # Whether any workspace has a limit of points per second. It is checked for every batch.
        self.any_points_per_second = settings.points_per_second > 0

    def of(self, workspace_id: int) -> Limits:
        """The limits of a workspace for the whole service."""
        return self._own.get(workspace_id, self._settings)

    def part_of(self, workspace_id: int) -> Limits:
        """The limits of a workspace at this front end: its part of those of the service."""
        part = self._parts.get(workspace_id)
        if part is None:
            part = self._parts[workspace_id] = self._work_out(workspace_id)
        return part

    def _work_out(self, workspace_id: int) -> Limits:
        limits, share = self.of(workspace_id), self._front_ends.get(workspace_id, 1)
        # Rounded up: a limit of one stream is one stream on each front end, and not none.
        return Limits(**{
            name: -(-getattr(limits, name) // (share if name in _DIVIDED else 1)) for name in NAMES
        })  # fmt: skip

    def used(self, workspace_id: int) -> None:
        """Record that this front end serves a workspace now."""
        self._active[workspace_id] = time.monotonic()

    def watch(self, lasting: Callable[[], Iterable[int]]) -> None:
        """Use `lasting` to find the workspaces that have streams here, which count as served."""
        self._lasting = lasting

    def points_per_second(self, workspace_id: int) -> int:
        """The limit of points per second of a workspace at this front end; 0: no limit."""
        return self.part_of(workspace_id).points_per_second

    def reached(self, limit: str, workspace_id: int, *, retry_after_s: float = 1.0) -> LimitReached:
        """The error for a workspace that has reached a limit; counts it in the metrics."""
        if self._metrics is not None:
            self._metrics.refused(limit, self.name_of(workspace_id))
        return LimitReached(
            f"{self._text(limit, workspace_id)}: try again in {retry_after_s:.0f} s, use less at a time, or ask an "
            "admin for more",
            retry_after_s=retry_after_s,
        )

    def file_too_large(self, workspace_id: int, path: str) -> FileTooLarge:
        """The error for a file that is larger than the limit; counts it in the metrics."""
        if self._metrics is not None:
            self._metrics.refused("file_bytes", self.name_of(workspace_id))
        text = self._text("file_bytes", workspace_id)
        return FileTooLarge(f"{path!r} is not stored: {text}; split it, or ask an admin for more", field="path")

    def waited(self, workspace_id: int, seconds: float) -> None:
        """Count a wait because of points_per_second."""
        if self._metrics is not None:
            self._metrics.waited("points_per_second", self.name_of(workspace_id), seconds)

    def name_of(self, workspace_id: int) -> str:
        """The name of a workspace that has limits, for messages."""
        return self._names.get(workspace_id, str(workspace_id))

    def _text(self, limit: str, workspace_id: int) -> str:
        whole, part = getattr(self.of(workspace_id), limit), getattr(self.part_of(workspace_id), limit)
        here = "" if part == whole else f", {part:,} of them at this replica"
        name = self.name_of(workspace_id)
        return (
            f"workspace {name!r} has reached its limit of {whole:,} {_NAMES_IN_MESSAGES[limit]}{here} "
            f"(runstream workspace limits {name})"
        )

    async def run(self, database: Database) -> None:
        """Read the limits again every few seconds, until cancelled."""
        while True:
            await self.refresh(database)
            await asyncio.sleep(REFRESH_S)

    async def refresh(self, database: Database) -> None:
        """Read the limits again. If that fails, the known ones stay."""
        try:
            rows = await database.fetch(SQL["all_limits"])
            self._names = {row["workspace_id"]: row["name"] for row in rows}
            self._own = {
                row["workspace_id"]: Limits(*(_value(row[name], getattr(self._settings, name)) for name in NAMES))
                for row in rows
            }
            every = (self._settings, *self._own.values())
            self.any_points_per_second = any(limits.points_per_second for limits in every)
            if self._settings or self._own:
                await self._report(database)
        except (CoreError, TimeoutError) as error:
            if not self._are_unknown:
                log.warning(
                    f"The limits of workspaces cannot be read; the last known ones stay: {error}",
                    action="limits_not_read",
                )
            self._are_unknown = True
        else:
            self._are_unknown = False
        self._parts = {}

    async def _report(self, database: Database) -> None:
        """Record which workspaces this front end serves, and read how many front ends serve each workspace."""
        since = time.monotonic() - _SERVES_S
        self._active = {workspace: used for workspace, used in self._active.items() if used > since}
        served = {*self._active, *self._lasting()} - {NO_WORKSPACE}
        await database.execute(SQL["report_front_end"], self._front_end, sorted(served))
        rows = await database.fetch(SQL["front_ends"])
        self._front_ends = {row["workspace_id"]: row["front_ends"] for row in rows}
        self._names = {**self._names, **{row["workspace_id"]: row["name"] for row in rows}}


def _value(own: int | None, setting: int) -> int:
    return setting if own is None else own
