"""Writes points to Parquet and CSV files. A file has a temporary name until it is complete."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np

import runstream

COLUMNS = ("experiment", "run_id", "run_name", "key", "rank", "attempt", "step", "time", "value")

# How many points a row group has; it takes 20 MB of memory while it is written.
_GROUP_POINTS = 262_144


class Writer(Protocol):
    """The interface of a file that pieces of series are added to."""

    def add(self, run: runstream.RunInfo, piece: runstream.SeriesColumns) -> None: ...

    def close(self) -> None: ...


class CsvWriter:
    """Writes times in ISO 8601, UTC; numbers that are exact when they are read again; nan, inf and -inf."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._csv = csv.writer(self._file)
        self._csv.writerow(COLUMNS)

    def add(self, run: runstream.RunInfo, piece: runstream.SeriesColumns) -> None:
        """Writes one line per point."""
        whose = (run.experiment, run.run_id, run.name, piece.key, piece.rank, piece.attempt)
        times = np.datetime_as_string(np.frombuffer(piece.times_unix_us, np.int64).astype("M8[us]"), timezone="UTC")
        rows = zip(piece.steps, times.tolist(), map(repr, piece.values), strict=True)
        self._csv.writerows((*whose, *row) for row in rows)

    def close(self) -> None:
        """Writes what is left, and closes the file."""
        self._file.close()


class ParquetWriter:
    """Writes names as dictionaries and times as microseconds in UTC, in row groups of bounded size."""

    def __init__(self, path: Path) -> None:
        # Imported here, as it only has to be installed to export Parquet.
        import pyarrow
        import pyarrow.parquet

        name, number = pyarrow.dictionary(pyarrow.int32(), pyarrow.string()), pyarrow.int32()
        time = pyarrow.timestamp("us", tz="UTC")
        types = (name, name, name, name, number, number, pyarrow.int64(), time, pyarrow.float64())
        self._arrow: Any = pyarrow
        self._schema = pyarrow.schema(list(zip(COLUMNS, types, strict=True)))
        self._writer = pyarrow.parquet.ParquetWriter(path, self._schema)
        self._waiting: list[Any] = []
        self._points = 0

    def add(self, run: runstream.RunInfo, piece: runstream.SeriesColumns) -> None:
        """Adds a piece; writes when a row group is full."""
        arrow, count = self._arrow, len(piece)
        names = (run.experiment, run.run_id, run.name, piece.key)
        indexes = arrow.array(np.zeros(count, np.int32))
        columns = [arrow.DictionaryArray.from_arrays(indexes, [name]) for name in names]
        columns += [arrow.array(np.full(count, number, np.int32)) for number in (piece.rank, piece.attempt)]
        columns.append(arrow.array(np.frombuffer(piece.steps, np.int64)))
        columns.append(arrow.array(np.frombuffer(piece.times_unix_us, np.int64)).cast(self._schema.field("time").type))
        # NaN is a value, not a missing one.
        columns.append(arrow.array(np.frombuffer(piece.values, np.float64), from_pandas=False))
        self._waiting.append(arrow.record_batch(columns, schema=self._schema))
        self._points += count
        if self._points >= _GROUP_POINTS:
            self._write()

    def close(self) -> None:
        """Writes what is left and the footer, and closes the file."""
        self._write()
        self._writer.close()

    def _write(self) -> None:
        if self._waiting:
            table = self._arrow.Table.from_batches(self._waiting).unify_dictionaries()
            self._writer.write_table(table)
        self._waiting, self._points = [], 0


FORMATS: dict[str, Callable[[Path], Writer]] = {"parquet": ParquetWriter, "csv": CsvWriter}


class Output:
    """A context manager for a file, which gets its final name only if everything succeeded."""

    def __init__(self, path: Path, format_: str) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self.writer = FORMATS[format_](self._part)

    def __enter__(self) -> Writer:
        return self.writer

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        try:
            self.writer.close()
            if kind is None:
                self._part.replace(self._path)
        finally:
            self._part.unlink(missing_ok=True)
