"""The artifact store as a caller may use it: the only way from a request to a file.

Every path leads to an experiment, and so to a workspace: its first segment is the id of the experiment, or it is below
a location that was chosen for one. A path of another workspace is answered like one that does not exist.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from runstream_service.artifacts.paths import path_of_uri
from runstream_service.core import audit
from runstream_service.core.caller import Role
from runstream_service.database.queries import load
from runstream_service.errors.core import ArtifactNotFound, InvalidField
from runstream_service.limits.workspace_limits import Limits, WorkspaceLimits

if TYPE_CHECKING:
    from runstream_service.artifacts.store import ArtifactStore, Entry, OpenedFile, Stat
    from runstream_service.core.caller import Caller
    from runstream_service.database.pool import Database

SQL = load("experiments")

# How many pairs of workspace and experiment are cached. They need not expire, since an experiment never moves to
# another workspace. Only experiments of the caller's workspace are cached; otherwise the time of a response would
# reveal whether another workspace has an experiment.
_MAX_CACHED = 50_000
_EXPERIMENT = re.compile(r"[0-9]{1,18}")


class FilesOfCaller:
    """Paths must come from `check_path`. All methods raise what those of ArtifactStore raise, DatabaseUnavailable, and
    ArtifactNotFound for a path that is not in the caller's workspace."""

    def __init__(self, store: ArtifactStore, database: Database, limits: WorkspaceLimits | None = None) -> None:
        self._store = store
        self._limits = limits or WorkspaceLimits(Limits())
        self._database = database
        self._owned: set[tuple[int, int]] = set()  # workspace and experiment

    async def stat(self, caller: Caller, path: str) -> Stat:
        """The size and the version of a file."""
        await self._check(caller, path)
        return await self._store.stat(path)

    async def read(self, caller: Caller, path: str, *, start: int = 0, end: int | None = None) -> OpenedFile:
        """A file, or a part of it."""
        await self._check(caller, path)
        return await self._store.read(path, start=start, end=end)

    async def write(self, caller: Caller, path: str, chunks: AsyncIterator[bytes], *, size: int | None = None) -> None:
        """Stores a file, completely or not at all. Raises FileTooLarge if it is larger than the workspace's limit."""
        await self._check(caller, path)
        if most := self._limits.of(caller.workspace_id).file_bytes:
            if size is not None and size > most:
                raise self._limits.file_too_large(caller.workspace_id, path)
            chunks = self._bounded(caller, path, chunks, most)
        await self._store.write(path, chunks, size=size)

    async def _bounded(
        self, caller: Caller, path: str, chunks: AsyncIterator[bytes], most: int
    ) -> AsyncIterator[bytes]:
        left = most
        async for chunk in chunks:
            left -= len(chunk)
            if left < 0:
                raise self._limits.file_too_large(caller.workspace_id, path)
            yield chunk

    async def delete(self, caller: Caller, path: str) -> None:
        """Deletes a file or a directory; it need not exist."""
        if await self._is_callers(caller, path):
            # Recorded before the deletion, which may take effect even if it is interrupted or the store does not
            # answer.
            await audit.record(self._database, caller, "artifact_deleted", path)
            await self._store.delete(path)

    async def list(self, caller: Caller, path: str) -> list[Entry]:
        """The entries of a directory; none if it does not exist. The root has those of the caller's experiments."""
        if path:
            return await self._store.list(path) if await self._is_callers(caller, path) else []
        found = await self._store.list(path)
        if caller.role is Role.ADMIN:
            return found
        experiments = await self._experiments_among(caller, [entry.name for entry in found])
        locations = await self._chosen_locations(caller)
        return [entry for entry in found if _is_in(entry.name, experiments, [*locations, *_tops(locations)])]

    async def _check(self, caller: Caller, path: str) -> None:
        if not await self._is_callers(caller, path):
            # The same message as in artifacts/store.py for a file that does not exist.
            raise ArtifactNotFound(f"No such artifact: '{path}'", field="path")

    async def _is_callers(self, caller: Caller, path: str) -> bool:
        if caller.role is Role.ADMIN:
            return True
        if _experiment_of(path) is not None:
            return _is_in(path, await self._experiments_among(caller, [path]), ())
        return _is_in(path, (), await self._chosen_locations(caller))

    async def _experiments_among(self, caller: Caller, paths: Sequence[str]) -> Collection[int]:
        """The experiments of the caller's workspace among those that paths begin with."""
        own = caller.workspace_id
        asked = {id_ for path in paths if (id_ := _experiment_of(path)) is not None}
        found = {id_ for id_ in asked if (own, id_) in self._owned}
        if asked > found:
            rows = await self._database.fetch(SQL["experiments_of_workspace"], own, list(asked - found))
            if len(self._owned) > _MAX_CACHED:
                self._owned.clear()
            self._owned.update((own, row["experiment_id"]) for row in rows)
            found.update(row["experiment_id"] for row in rows)
        return found

    async def _chosen_locations(self, caller: Caller) -> Sequence[str]:
        """Paths in the store that were chosen for experiments of the caller's workspace."""
        rows = await self._database.fetch(SQL["chosen_locations_of_workspace"], caller.workspace_id)
        paths = [_path_of(row["artifact_location"]) for row in rows]
        return [path for path in paths if path]


def _is_in(path: str, experiments: Collection[int], locations: Iterable[str]) -> bool:
    experiment_id = _experiment_of(path)
    if experiment_id is not None:
        return experiment_id in experiments
    return any(path == location or path.startswith(f"{location}/") for location in locations)


def _experiment_of(path: str) -> int | None:
    first = path.partition("/")[0]
    return int(first) if _EXPERIMENT.fullmatch(first) else None


def _path_of(location: str) -> str | None:
    try:
        return path_of_uri(location)
    except InvalidField:
        return None


def _tops(locations: Iterable[str]) -> Sequence[str]:
    return [location.partition("/")[0] for location in locations]
