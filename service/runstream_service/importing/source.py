"""What a source can do, and the way from its address to it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from runstream_service.importing.records import (
        FileOwner,
        Points,
        SourceExperiment,
        SourceFile,
        SourceModel,
        SourceRegisteredModel,
        SourceRun,
    )


class SourceError(Exception):
    """A part of the source cannot be read; the message says which, and why."""


class PlaceMissing(SourceError):
    """The directory of all files is not there: perhaps there never were any, or they are elsewhere. `place` is it."""

    def __init__(self, message: str, place: str) -> None:
        super().__init__(message)
        self.place = place


class Source(Protocol):
    """A tracking server, its database or its files. Safe to share between threads.

    All methods raise SourceError for what concerns one thing, and ValueError for what concerns the source as a whole.
    """

    runs_at_once: int  # of how many runs the points are best read together

    def describe(self) -> str:
        """What it is, for people, such as `MLflow's database mlflow.db (schema 534353b11cbc)`."""

    def experiments(self) -> list[SourceExperiment]:
        """All, also the deleted ones."""

    def run_count(self) -> int | None:
        """How many runs it has, deleted ones included; None if it does not say so."""

    def runs(self, experiment: SourceExperiment) -> Iterator[SourceRun]:
        """The runs of an experiment, also the deleted ones."""

    def points(self, runs: Sequence[SourceRun]) -> Iterator[Points]:
        """All points of some runs, in pieces of bounded size. Those of one metric of a run follow each other."""

    def logged_models(self, experiment: SourceExperiment) -> Iterator[SourceModel]:
        """The logged models of an experiment, also the deleted ones."""

    def registered_models(self) -> Iterator[SourceRegisteredModel]:
        """The registered models with their versions, prompts among them."""

    def files(self, owner: FileOwner) -> Iterator[SourceFile]:
        """All files of a run or model. None if nothing was ever logged."""

    def open_file(self, owner: FileOwner, path: str) -> AbstractContextManager[Iterator[bytes]]:
        """The content of a file, in pieces of bounded size."""

    def problems(self) -> Sequence[str]:
        """What could not be read so far, or was damaged, and was left out: a line for each. None where each is an error
        as soon as it is met."""
        return ()

    def close(self) -> None:
        """Ends connections."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_mlflow(address: str, artifacts: str = "") -> Source:
    """The source at an address: http(s)://, sqlite:///, postgresql://, or a directory. `artifacts`: where the files of
    `mlflow-artifacts:/` are, for a database. Raises ValueError, OSError."""
    scheme = address.partition(":")[0].lower() if ":" in address else ""
    dialect = scheme.partition("+")[0]
    if dialect in ("http", "https"):
        from runstream_service.importing.mlflow_http import MlflowServer

        return MlflowServer(address)
    if dialect in ("sqlite", "postgresql", "postgres"):
        from runstream_service.importing.databases import open_database
        from runstream_service.importing.mlflow_sql import MlflowDatabase

        return MlflowDatabase(open_database(address), artifacts)
    if dialect in ("mysql", "mssql", "oracle"):
        raise ValueError(
            f"{address.rpartition('@')[2]}: of MLflow's databases, SQLite and PostgreSQL are read directly; start "
            f"`mlflow server --backend-store-uri {dialect}...` on this one, and import from its http:// address"
        )
    if (not scheme or scheme == "file") and os.path.isdir(path := address.removeprefix("file://")):
        from runstream_service.importing.mlflow_files import MlflowFiles

        return MlflowFiles(Path(path))
    raise ValueError(
        f"{address!r} is no source: expected http://host:port of an MLflow server, sqlite:///path or "
        "postgresql://... of its database, or a directory mlruns"
    )
