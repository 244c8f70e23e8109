"""Deletes the files of runs, logged models and experiments that were purged.

Purge writes their paths into a table, in the transaction that deletes their rows. So no file is forgotten when a
replica dies or the store is unreachable: a path stays in the table until its files are deleted. Only files in this
service's own store are deleted; files of experiments with a location elsewhere stay there.

A registered version outlives its run. Files in a location that a version or another experiment uses are kept until that
is deleted, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from runstream_service.artifacts.paths import path_of_uri
from runstream_service.core import experiments
from runstream_service.database.queries import load
from runstream_service.errors.core import InvalidField

if TYPE_CHECKING:
    from runstream_service.artifacts.store import ArtifactStore
    from runstream_service.database.pool import Database, PooledConnection

log = structlog.get_logger()

SQL = load("retention")

# Paths are claimed for ten minutes, and the deletion of a directory with very many files may take some of these.
_PATHS_AT_ONCE = 10


def path_of_run(run_id: UUID, experiment_id: int, location: str | None) -> str | None:
    """The directory of a run in this service's store; None if its files are elsewhere."""
    return _path(experiments.artifact_uri_below(location, experiment_id, run_id.hex))


def path_of_model(model_id: str, experiment_id: int, location: str | None) -> str | None:
    """The directory of a logged model in this service's store; None if its files are elsewhere."""
    return _path(experiments.artifact_uri_below(location, experiment_id, f"models/{model_id}"))


def path_of_location(location: str) -> str | None:
    """The path in this service's store that a URI points to; None if it points elsewhere."""
    return _path(location)


async def record(connection: PooledConnection, paths: Sequence[str | None]) -> None:
    """Records, in the caller's transaction, the paths whose files are to be deleted."""
    await connection.execute(SQL["record_artifacts"], [path for path in paths if path])


class PurgedFiles:
    """Deletes, in each round, the recorded files that can be deleted."""

    COUNT = SQL["artifacts_waiting"]

    def __init__(self, database: Database, store: ArtifactStore) -> None:
        self._database = database
        self._store = store

    async def run_once(self) -> int:
        """Delete all recorded paths that are due. Returns how many were deleted. A path that fails is tried again in
        ten minutes; the first failure is raised after all have been tried."""
        if not self._store.writable:
            return 0  # another replica has a store (--artifacts)
        deleted = 0
        failures: list[Exception] = []
        while paths := [row["path"] for row in await self._database.fetch(SQL["claim_artifacts"], _PATHS_AT_ONCE)]:
            # Experiments come last: the directory of an experiment has to wait for the other paths inside it.
            for path in sorted(paths, key=_is_of_experiment):
                if await still_needed(self._database, [path]):
                    await self._database.execute(SQL["postpone_artifacts"], [path])
                else:
                    deleted += await self._delete(path, failures)
        if failures:
            raise failures[0]
        return deleted

    async def _delete(self, path: str, failures: list[Exception]) -> bool:
        try:
            await self._store.delete(path)
        except InvalidField as error:  # a link leads out of the store: what is there must not be deleted
            log.warning(f"Files of purged data stay: {error.message}", action="purged_files_left", path=path)
        except Exception as error:
            failures.append(error)
            return False
        await self._database.execute(SQL["forget_artifacts"], [path])
        return True


async def still_needed(database: Database, paths: Sequence[str]) -> set[str]:
    """The paths that overlap with a location where a registered version or another experiment has its files.

    A version may refer to files by the id of its run or model alone (runs:/...).
    """
    rows = await database.fetch(SQL["locations_that_match"], [f"%{_last_part(path)}%" for path in paths])
    locations = [row["location"] for row in rows]
    used = [place for location in locations if (place := _path(location)) is not None]
    parents = {row["parent"] for row in await database.fetch(SQL["parents_of_waiting"], list(paths))}
    return {
        path
        for path in paths
        if path in parents
        or any(_overlap(path, place) for place in used)
        or (not _is_of_experiment(path) and any(_last_part(path) in location for location in locations))
    }


def _last_part(path: str) -> str:
    """The id of a run, a model or an experiment. It is the same in every spelling of a URI."""
    return path.rpartition("/")[2]


def _is_of_experiment(path: str) -> bool:
    return "/" not in path


def _overlap(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def _path(uri: str) -> str | None:
    try:
        return path_of_uri(uri) or None  # the root of the store is never deleted
    except InvalidField:
        return None
