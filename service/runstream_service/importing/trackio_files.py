"""Reads the databases of Trackio: an SQLite file for each project, below ~/.cache/huggingface/trackio.

| there | here |
|---|---|
| project | experiment |
| run | run: its id, or one that is derived from project and name where that version of Trackio had none |
| config | params; nested ones are joined with a dot |
| metrics | points, with their steps and times; nested keys are joined with a dot |
| system metrics | points below `system/`, with the number of the sample as their step |

Trackio does not keep whether a run has ended, so all are FINISHED. Pictures, tables, texts, alerts and artifacts are
left out.
"""

from __future__ import annotations

import json
import re
import sqlite3
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from runstream_service.importing.columns import Columns, flattened, numbers, text_of
from runstream_service.importing.records import SourceRun
from runstream_service.importing.runs_on_disk import RunsOnDisk
from runstream_service.importing.source import SourceError

_RUN_IDS = uuid.UUID("0c5c6a0e-8d5f-4a0b-8d5e-1f6f8a2b7c33")  # the name space of ids that are derived
_SYSTEM = "system/"
_ID = re.compile("[0-9a-f]{32}")


class TrackioFiles(RunsOnDisk[str]):
    """A source of an import: see Source for its methods. The points of a run are found by the run's key in the database
    of its project."""

    def __init__(self, place: Path) -> None:
        """`place` is a directory with databases, or one database. Raises ValueError."""
        files = [place] if place.is_file() else sorted(place.glob("*.db"))
        super().__init__(place, files, "no database *.db of Trackio is there")
        self._files = {path.stem: path for path in files}

    def describe(self) -> str:
        return f"{len(self._files):,} project{'s' * (len(self._files) != 1)} of Trackio in {self._place}"

    def _read_runs(self) -> Iterator[tuple[SourceRun, str]]:
        for project, path in self._files.items():
            try:
                with closing(self._open(project)) as database:
                    yield from _runs(database, project)
            except (sqlite3.Error, ValueError) as error:
                self._problems.append(f"{path}: it is no readable database of Trackio: {error}; it was left out")

    def _read_points(self, run: SourceRun, where: str, columns: dict[str, Columns]) -> None:
        try:
            with closing(self._open(run.experiment_id)) as database:
                _read_points(database, where, columns)
        except (sqlite3.Error, ValueError) as error:
            raise SourceError(f"{self._files[run.experiment_id]}: {error}") from error

    def _open(self, project: str) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{quote(str(self._files[project]))}?mode=ro", uri=True)


def default_place(environ: Mapping[str, str]) -> Path:
    """The directory of Trackio's databases: TRACKIO_DIR, else below HF_HOME, else below ~/.cache/huggingface."""
    if directory := environ.get("TRACKIO_DIR"):
        return Path(directory).expanduser()
    return Path(environ.get("HF_HOME") or "~/.cache/huggingface").expanduser() / "trackio"


def _columns_of(database: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in database.execute(f"PRAGMA table_info({table})")}


def _key_column(database: sqlite3.Connection, table: str) -> str:
    """The column that identifies runs: early versions of Trackio identified them only by name."""
    return "run_id" if "run_id" in _columns_of(database, table) else "run_name"


def _runs(database: sqlite3.Connection, project: str) -> Iterator[tuple[SourceRun, str]]:
    if not {"run_name", "timestamp", "step", "metrics"} <= _columns_of(database, "metrics"):
        raise ValueError("it has no table of metrics with run_name, timestamp, step and metrics")
    key = _key_column(database, "metrics")
    configs = {}
    if "config" in (columns := _columns_of(database, "configs")):
        by = "run_id" if "run_id" in columns and key == "run_id" else "run_name"
        configs = {row[0]: json.loads(row[1]) for row in database.execute(f"SELECT {by}, config FROM configs")}  # noqa: S608
    statement = f"SELECT {key}, max(run_name), min(timestamp), max(timestamp) FROM metrics GROUP BY {key} ORDER BY 3"  # noqa: S608
    for run_key, name, first, last in database.execute(statement):
        config = configs.get(run_key, {})
        plain = str(run_key).replace("-", "")
        run_id = plain if _ID.fullmatch(plain) else uuid.uuid5(_RUN_IDS, f"{project}/{run_key}").hex
        tags = {"trackio.group": config.get("_Group"), "trackio.run": f"{project}/{name}"}
        yield (
            SourceRun(
                run_id=run_id,
                experiment_id=project,
                name=name,
                user=str(config.get("_Username") or ""),
                start_unix_us=_unix_us(config.get("_Created") or first),
                end_unix_us=_unix_us(last),
                params={key: text_of(value) for key, value in flattened(config) if not key.startswith("_")},
                tags={key: str(value) for key, value in tags.items() if value},
            ),
            run_key,
        )


def _read_points(database: sqlite3.Connection, run_key: str, columns: dict[str, Columns]) -> None:
    by = _key_column(database, "metrics")
    rows = database.execute(f"SELECT step, timestamp, metrics FROM metrics WHERE {by} = ? ORDER BY id", (run_key,))  # noqa: S608
    for step, timestamp, metrics in rows:
        _take(columns, metrics, _unix_us(timestamp), step)
    if "metrics" in _columns_of(database, "system_metrics"):
        by = _key_column(database, "system_metrics")
        rows = database.execute(f"SELECT timestamp, metrics FROM system_metrics WHERE {by} = ? ORDER BY id", (run_key,))  # noqa: S608
        for timestamp, metrics in rows:
            _take(columns, metrics, _unix_us(timestamp), None, _SYSTEM)


def _take(columns: dict[str, Columns], metrics: str | bytes, time_us: int, step: int | None, prefix: str = "") -> None:
    logged: dict[str, Any] = json.loads(metrics)
    for key, value in logged.items():
        for name, number in numbers(prefix + key, value):
            column = columns.setdefault(name, Columns())
            column.add(len(column) if step is None else step, time_us, number)


def _unix_us(text: str) -> int:
    time = datetime.fromisoformat(text)
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1e6)
