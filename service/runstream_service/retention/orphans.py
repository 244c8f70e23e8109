"""Finds files of runs and logged models that are not in the database. Earlier releases purged runs without their files,
and an upload may have written a file after its run was purged.

Only directories that this service could have made are considered, and only those that have not changed for a day.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from runstream_service.database.queries import load
from runstream_service.retention.purged_files import path_of_location, still_needed

if TYPE_CHECKING:
    from runstream_service.artifacts.store import ArtifactStore
    from runstream_service.database.pool import Database

SQL = load("retention")

# Newer files are left alone: an upload may take hours, and the row of its run may not be committed yet.
MIN_AGE = timedelta(days=1)
_AT_ONCE = 1_000
_EXPERIMENT = re.compile(r"0|[1-9][0-9]{0,17}")
_RUN = re.compile(r"[0-9a-f]{32}")
_MODEL = re.compile(r"m-[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Orphan:
    """A directory whose run, logged model or experiment is not in the database."""

    path: str
    files: int
    size_bytes: int


class Orphans:
    """Compares the directories of the artifact store with the rows of the database."""

    def __init__(self, database: Database, store: ArtifactStore) -> None:
        self._database = database
        self._store = store

    async def find(self) -> AsyncIterator[Orphan]:
        """Yields orphans as they are found."""
        experiments, known = await self._experiments()
        for gone in experiments - known:
            async for orphan in self._measured([str(gone)]):
                yield orphan
        roots = [str(one) for one in sorted(experiments & known)] + await self._other_roots()
        for root in roots:
            names = await self._directories(root)
            async for orphan in self._unknown(root, [name for name in names if _RUN.fullmatch(name)], "known_runs"):
                yield orphan
            if "models" in names:
                models = [name for name in await self._directories(f"{root}/models") if _MODEL.fullmatch(name)]
                async for orphan in self._unknown(f"{root}/models", models, "known_models"):
                    yield orphan

    async def _experiments(self) -> tuple[set[int], set[int]]:
        """The experiments that have a directory, and those of them that have a row. Directories named by ids that this
        database has never assigned are left out: they do not belong to this service."""
        last_id = await self._database.fetchval(SQL["last_experiment_id"])
        named = {int(name) for name in await self._directories("") if _EXPERIMENT.fullmatch(name)}
        assigned = {one for one in named if one <= last_id}
        rows = await self._database.fetch(SQL["known_experiments"], sorted(assigned))
        return assigned, {row["experiment_id"] for row in rows}

    async def _other_roots(self) -> list[str]:
        """The locations in this store that users chose for experiments."""
        rows = await self._database.fetch(SQL["chosen_locations"])
        return sorted({path for row in rows if (path := path_of_location(row["artifact_location"]))})

    async def _directories(self, path: str) -> list[str]:
        return [entry.name for entry in await self._store.list(path) if entry.is_directory]

    async def _unknown(self, root: str, names: Sequence[str], query: str) -> AsyncIterator[Orphan]:
        """The directories below `root` whose id is not in the database, as orphans."""
        for start in range(0, len(names), _AT_ONCE):
            part = names[start : start + _AT_ONCE]
            known = {row["name"] for row in await self._database.fetch(SQL[query], part)}
            async for orphan in self._measured([f"{root}/{name}" for name in part if name not in known]):
                yield orphan

    async def _measured(self, paths: Sequence[str]) -> AsyncIterator[Orphan]:
        """The directories as orphans, with their sizes. Those that are still needed or contain a new file are left
        out."""
        needed = await still_needed(self._database, paths)
        oldest_new = datetime.now(UTC) - MIN_AGE
        for path in paths:
            if path not in needed:
                usage = await self._store.usage(path)
                if usage.files and usage.newest < oldest_new:
                    yield Orphan(path, usage.files, usage.size_bytes)
