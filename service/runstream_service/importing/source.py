"""The interface of a source, and `open_mlflow`, which opens the source of MLflow at an address."""

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
    """A part of the source cannot be read. The message says which part, and why."""


class PlaceMissing(SourceError):
    """The directory `place` of all files does not exist: either there never were files, or they are elsewhere."""

    def __init__(self, message: str, place: str) -> None:
        super().__init__(message)
        self.place = place


class Source(Protocol):
    """A tracking server, its database or its files. Safe to share between threads.

    All methods raise SourceError if one run, model or file cannot be read, and ValueError if the source as a whole
    cannot.
    """

    runs_at_once: int  # for how many runs together the points are read most quickly

    def describe(self) -> str:
        """What the source is, for people: for example `MLflow's database mlflow.db (schema 534353b11cbc)`."""

    def experiments(self) -> list[SourceExperiment]:
        """All experiments, including deleted ones."""

    def run_count(self) -> int | None:
        """How many runs the source has, including deleted ones; None if it is not known."""

    def runs(self, experiment: SourceExperiment) -> Iterator[SourceRun]:
        """The runs of an experiment, including deleted ones."""

    def points(self, runs: Sequence[SourceRun]) -> Iterator[Points]:
        """All points of some runs, in pieces of bounded size. The pieces of one metric of a run follow each other."""

    def logged_models(self, experiment: SourceExperiment) -> Iterator[SourceModel]:
        """The logged models of an experiment, including deleted ones."""

    def registered_models(self) -> Iterator[SourceRegisteredModel]:
        """The registered models with their versions. Prompts are among them."""

    def files(self, owner: FileOwner) -> Iterator[SourceFile]:
        """All artifact files of a run or model; empty if none was ever logged."""

    def open_file(self, owner: FileOwner, path: str) -> AbstractContextManager[Iterator[bytes]]:
        """The content of a file, in pieces of bounded size."""

    def problems(self) -> Sequence[str]:
        """Descriptions, each a line, of what was left out so far because it could not be read or was damaged. Empty for
        sources that raise SourceError for it instead."""
        return ()

    def close(self) -> None:
        """Closes connections."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_mlflow(address: str, artifacts: str = "") -> Source:
    """Opens the source at an address: http(s)://, sqlite:///, postgresql://, or a directory. `artifacts` is the place
    to which `mlflow-artifacts:/` refers, for a database. Raises ValueError, OSError."""
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
        f"{address!r} is not a source: expected http://host:port of an MLflow server, sqlite:///path or "
        "postgresql://... of its database, or a directory mlruns"
    )
