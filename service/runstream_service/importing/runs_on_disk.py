"""The base class of sources that read local files of a tracker. Only runs and their points are imported from them, no
artifact files and no models."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from runstream_service.importing.columns import Columns
from runstream_service.importing.records import Points, SourceExperiment, SourceRun
from runstream_service.importing.source import Source, SourceError

if TYPE_CHECKING:
    from runstream_service.importing.records import FileOwner, SourceFile, SourceModel, SourceRegisteredModel

Where = TypeVar("Where")  # where the points of a run are, such as the path of its file


class RunsOnDisk(Source, Generic[Where]):
    """A source of an import: see Source for its methods. Files are read, and never written."""

    runs_at_once = 1

    def __init__(self, place: Path, files: Sequence[Path], expected: str) -> None:
        """`files` are the files in `place` that have runs; `expected` is the error message if there is none. Raises
        ValueError."""
        if not files:
            raise ValueError(f"{place}: {expected if place.exists() else 'there is no such file or directory'}")
        self._problems: list[str] = []
        self._place = place
        self._runs: dict[str, tuple[SourceRun, Where]] | None = None

    def experiments(self) -> list[SourceExperiment]:
        names = {run.experiment_id for run, _ in self._found().values()}
        return [SourceExperiment(source_id=name, name=name) for name in sorted(names)]

    def run_count(self) -> int | None:
        return len(self._found())

    def runs(self, experiment: SourceExperiment) -> Iterator[SourceRun]:
        for run, _ in self._found().values():
            if run.experiment_id == experiment.source_id:
                yield run

    def points(self, runs: Sequence[SourceRun]) -> Iterator[Points]:
        for run in runs:
            columns: dict[str, Columns] = {}
            self._read_points(*self._found()[run.run_id], columns)
            for key, column in columns.items():
                yield column.points(run.run_id, key)

    def problems(self) -> Sequence[str]:
        """Messages about files that could not be read, or are damaged."""
        return self._problems

    def close(self) -> None:
        """Does nothing: no file stays open between calls."""

    def logged_models(self, experiment: SourceExperiment) -> Iterator[SourceModel]:
        """None."""
        return iter(())

    def registered_models(self) -> Iterator[SourceRegisteredModel]:
        """None."""
        return iter(())

    def files(self, owner: FileOwner) -> Iterator[SourceFile]:
        """None."""
        return iter(())

    def open_file(self, owner: FileOwner, path: str) -> AbstractContextManager[Iterator[bytes]]:
        """Always raises SourceError, since there are no artifact files."""
        raise SourceError(f"{path} is not a file of {owner.owner_id}")

    def _found(self) -> dict[str, tuple[SourceRun, Where]]:
        if self._runs is None:
            self._runs = {run.run_id: (run, where) for run, where in self._read_runs()}
        return self._runs

    @abstractmethod
    def _read_runs(self) -> Iterator[tuple[SourceRun, Where]]:
        """All runs, each with where its points are. What cannot be read is added to `_problems`."""

    @abstractmethod
    def _read_points(self, run: SourceRun, where: Where, columns: dict[str, Columns]) -> None:
        """Adds the points of a run to the columns of their metrics. Raises SourceError."""
