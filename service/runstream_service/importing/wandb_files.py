"""Reads the runs that the client of Weights & Biases has written to disk: those of WANDB_MODE=offline, and the local
copies of others.

A directory `wandb` has a directory for each run, `offline-run-<time>-<id>` or `run-<time>-<id>`, with a file
`run-<id>.wandb` that has everything.

| in Weights & Biases | imported as |
|---|---|
| project | experiment |
| run id | run id: derived from project and id, so that it is always the same |
| config | params; nested keys are joined with a dot |
| history | points, with their steps and times; nested keys are joined with a dot |
| system metrics | points of metrics `system/...`, with the number of the sample as their step |
| tags, notes, group, job type, host, commit | tags |
| numbers and texts of the summary that are not in the history | tags `wandb.summary.KEY` |

Histograms, tables, images and texts in the history are left out.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runstream_service.importing.columns import Columns, flattened, numbers, text_of
from runstream_service.importing.records import SourceRun
from runstream_service.importing.runs_on_disk import RunsOnDisk
from runstream_service.importing.source import SourceError
from runstream_service.importing.wandb_records import DamagedFile, records

_RUN_IDS = uuid.UUID("7be0f1c9-6b0e-4c62-9d53-3f6f0b5c9a11")  # the name space of ids that are derived
_NO_PROJECT = "uncategorized"  # as wandb calls it
_STEP, _TIME = "_step", "_timestamp"
_SYSTEM = "system/"


class WandbFiles(RunsOnDisk[Path]):
    """A source of an import: see Source for its methods."""

    def __init__(self, place: Path) -> None:
        """`place` is a file, or a directory with the files of runs at any depth. Raises ValueError, OSError."""
        files = [place] if place.is_file() else sorted(place.rglob("*.wandb"))
        # wandb links its latest run a second time.
        self._files = list({path.resolve(): None for path in files})
        super().__init__(
            place,
            self._files,
            "there is no file *.wandb; name the directory `wandb` that a script has written, or a run in it",
        )

    def describe(self) -> str:
        return f"{len(self._files):,} run{'s' * (len(self._files) != 1)} of wandb in {self._place}"

    def _read_runs(self) -> Iterator[tuple[SourceRun, Path]]:
        for path in self._files:
            try:
                run = self._read_run(path)
            except OSError as error:
                self._problems.append(f"{path}: {error.strerror}; it was left out")
                continue
            if run is None:
                self._problems.append(f"{path}: no run was written to it; it was left out")
            else:
                yield run, path

    def _read_points(self, run: SourceRun, where: Path, columns: dict[str, Columns]) -> None:
        try:
            for record in records(where):
                _take(record, columns)
        except DamagedFile:
            pass  # `_read_run` has reported it; the points before the damage are imported
        except OSError as error:
            raise SourceError(f"{where}: {error.strerror}") from error

    def _read_run(self, path: Path) -> SourceRun | None:
        """The run in a file, without its points. Reads the whole file, since later records change earlier ones. None if
        the file has no run."""
        found = _Run()
        try:
            for record in records(path):
                found.take(record)
        except DamagedFile as error:
            self._problems.append(f"{path}: {error}")
        return found.run()


@dataclass
class _Run:
    head: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    logged: set[str] = field(default_factory=set)
    exit_code: int | None = None
    last_time_us: int = 0

    def take(self, record: Any) -> None:
        if record.HasField("run"):
            self.head = record.run
            _update(self.config, record.run.config)
        elif record.HasField("config"):
            _update(self.config, record.config)
        elif record.HasField("summary"):
            _update(self.summary, record.summary)
        elif record.HasField("history"):
            for item in record.history.item:
                key = _key(item)
                self.logged.add(key)
                if key == _TIME:
                    self.last_time_us = int(float(item.value_json) * 1e6)
        elif record.HasField("exit"):
            self.exit_code = record.exit.exit_code

    def run(self) -> SourceRun | None:
        if self.head is None:
            return None
        head, project = self.head, self.head.project or _NO_PROJECT
        start_us = head.start_time.seconds * 1_000_000 + head.start_time.nanos // 1_000
        # Without an exit code, it was killed or still runs: the service ends runs that have no producer any more.
        status = "RUNNING" if self.exit_code is None else "FAILED" if self.exit_code else "FINISHED"
        return SourceRun(
            run_id=uuid.uuid5(_RUN_IDS, f"{head.entity}/{project}/{head.run_id}").hex,
            experiment_id=project,
            name=head.display_name or head.run_id,
            user=head.entity,
            status=status,
            start_unix_us=start_us,
            end_unix_us=0 if self.exit_code is None else max(start_us, self.last_time_us),
            params={
                key: text_of(value)
                for key, value in flattened({key: value for key, value in self.config.items() if key != "_wandb"})
            },
            tags=self._tags(project),
        )

    def _tags(self, project: str) -> dict[str, str]:
        head = self.head
        tags = {
            "wandb.run": f"{head.entity + '/' if head.entity else ''}{project}/{head.run_id}",
            "wandb.tags": ", ".join(head.tags),
            "wandb.group": head.run_group,
            "wandb.job_type": head.job_type,
            "mlflow.note.content": head.notes,
            "mlflow.source.git.commit": head.git.commit,
            "runstream.host": head.host,
        }
        for key, value in flattened(self.summary):
            if key not in self.logged and not key.startswith("_") and isinstance(value, str | int | float):
                tags[f"wandb.summary.{key}"] = text_of(value)
        return {key: value for key, value in tags.items() if value}


def _take(record: Any, columns: dict[str, Columns]) -> None:
    """Adds the points of a record to the columns of their metrics."""
    if record.HasField("history"):
        row = {_key(item): item.value_json for item in record.history.item}
        step = record.history.step.num if record.history.HasField("step") else int(float(row.get(_STEP, "0")))
        time_us = int(float(row.get(_TIME, "0")) * 1e6)
        for key, text in row.items():
            if not key.startswith("_"):
                for name, value in numbers(key, json.loads(text)):
                    columns.setdefault(name, Columns()).add(step, time_us, value)
    elif record.HasField("stats"):
        time_us = record.stats.timestamp.seconds * 1_000_000 + record.stats.timestamp.nanos // 1_000
        for item in record.stats.item:
            for name, value in numbers(_SYSTEM + item.key, json.loads(item.value_json)):
                column = columns.setdefault(name, Columns())
                column.add(len(column), time_us, value)


def _update(values: dict[str, Any], change: Any) -> None:
    for item in change.update:
        *parents, last = item.nested_key or [item.key]
        inner = values
        for parent in parents:
            below = inner.get(parent)
            if not isinstance(below, dict):
                below = inner[parent] = {}
            inner = below
        inner[last] = json.loads(item.value_json)
    for item in change.remove:
        values.pop(item.key or ".".join(item.nested_key), None)


def _key(item: Any) -> str:
    return str(item.key or ".".join(item.nested_key))
