"""How a training script uses each tracker, as that tracker's documentation says, and how its points are read again.

A client is made from a dictionary: `address` (a URL, or a directory), `project`, `run` (the run's name), `rank`,
`ranks`, and `join`, the id of a run that another rank has made, or none. Its constructor starts the run, whose id it
keeps under `run_id`.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# key, rank, step, value, time in microseconds
Point = tuple[str, int, int, float, int]


class Runstream:
    """`runstream.start_run`, whose journal is in RUNSTREAM_DIR."""

    def __init__(self, config: dict[str, Any]) -> None:
        runstream = importlib.import_module("runstream")
        more = {"run_id": config["join"]} if config["join"] else {}
        self._run = runstream.start_run(
            config["project"], config["run"], rank=config["rank"], address=config["address"], **more
        )
        self.run_id: str = self._run.run_id

    def log(self, values: dict[str, float], step: int) -> None:
        self._run.log(values, step=step)

    def finish(self) -> list[str]:
        """Ends the run; what the script is told about points that were not taken."""
        self._run.finish()
        refused = self._run.stats().refused
        return [f"{count} refused: {reason}" for reason, count in refused.items() if count]

    @staticmethod
    def read(config: dict[str, Any], run_id: str, keys: list[str]) -> Iterator[Point]:
        client = importlib.import_module("runstream").Client(config["address"])
        for key in keys:
            for point in client.history(run_id, key):
                yield key, point.rank, point.step, point.value, point.time_unix_us


class Mlflow:
    """`mlflow.log_metrics`. MLflow knows no ranks: their keys begin with `rank1/`, as keys of system metrics of several
    nodes begin with a name of the node."""

    asynchronous = False

    def __init__(self, config: dict[str, Any]) -> None:
        self._mlflow = mlflow = importlib.import_module("mlflow")
        mlflow.set_tracking_uri(config["address"])
        if self.asynchronous:
            mlflow.config.enable_async_logging()
        if config["join"]:
            run = mlflow.start_run(run_id=config["join"])
        else:
            mlflow.set_experiment(config["project"])
            run = mlflow.start_run(run_name=config["run"])
        self.run_id: str = run.info.run_id
        self._prefix = f"rank{config['rank']}/" if config["ranks"] > 1 else ""
        self._operations: list[Any] = []

    def log(self, values: dict[str, float], step: int) -> None:
        operations = self._mlflow.log_metrics({self._prefix + key: value for key, value in values.items()}, step=step)
        if operations is not None:
            self._operations.append(operations)

    def finish(self) -> list[str]:
        told: list[str] = []
        if self.asynchronous:
            self._mlflow.flush_async_logging()
            told = [error for operations in self._operations if (error := _error_of(operations))]
        self._mlflow.end_run()
        return told

    @staticmethod
    def read(config: dict[str, Any], run_id: str, keys: list[str]) -> Iterator[Point]:
        client = importlib.import_module("mlflow").MlflowClient(config["address"])
        for rank in range(config["ranks"]):
            prefix = f"rank{rank}/" if config["ranks"] > 1 else ""
            for key in keys:
                for metric in client.get_metric_history(run_id, prefix + key):
                    yield key, rank, metric.step, metric.value, metric.timestamp * 1_000


class MlflowAsync(Mlflow):
    """The same after `mlflow.config.enable_async_logging()`, with `flush_async_logging()` and `wait()` at the end."""

    asynchronous = True


class Trackio:
    """`trackio.log`, to SQLite in TRACKIO_DIR, or to a server. Trackio knows no ranks: their keys begin with `rank1/`.
    It is asked for no metrics of the machine."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._trackio = trackio = importlib.import_module("trackio")
        more: dict[str, Any] = {"server_url": config["address"]} if config["address"].startswith("http") else {}
        if config["join"]:
            more["resume"] = "must"
        run = trackio.init(
            project=config["project"], name=config["run"], auto_log_cpu=False, auto_log_gpu=False, **more
        )
        self.run_id: str = run.id
        self._prefix = f"rank{config['rank']}/" if config["ranks"] > 1 else ""

    def log(self, values: dict[str, float], step: int) -> None:
        self._trackio.log({self._prefix + key: value for key, value in values.items()}, step=step)

    def finish(self) -> list[str]:
        self._trackio.finish()
        return []

    @staticmethod
    def read(config: dict[str, Any], run_id: str, keys: list[str]) -> Iterator[Point]:
        """Here, TRACKIO_DIR is the server's, if there is one."""
        datetime = importlib.import_module("datetime").datetime
        storage = importlib.import_module("trackio.sqlite_storage").SQLiteStorage
        wanted = {f"rank{r}/{k}" if config["ranks"] > 1 else k: (k, r) for k in keys for r in range(config["ranks"])}
        for row in storage.get_logs(config["project"], run_id=run_id):
            time_us = round(datetime.fromisoformat(row["timestamp"]).timestamp() * 1e6)
            for name in wanted.keys() & row.keys():
                if row[name] is not None:
                    yield *wanted[name], row["step"], row[name], time_us


class Aim:
    """`Run.track`, to a repository in a directory, or to `aim server`. A rank is a part of the context."""

    def __init__(self, config: dict[str, Any]) -> None:
        aim = importlib.import_module("aim")
        more = {"run_hash": config["join"]} if config["join"] else {"experiment": config["project"]}
        self._run = aim.Run(repo=config["address"], system_tracking_interval=None, **more)
        self.run_id: str = self._run.hash
        self._context = {"rank": config["rank"]}

    def log(self, values: dict[str, float], step: int) -> None:
        self._run.track(values, step=step, context=self._context)

    def finish(self) -> list[str]:
        self._run.close()
        return []

    @staticmethod
    def read(config: dict[str, Any], run_id: str, keys: list[str]) -> Iterator[Point]:
        """From the directory of the repository, after its index was made again from what is there."""
        directory = config["directory"]
        command = [str(Path(sys.executable).with_name("aim")), "storage", "--repo", directory, "reindex", "--yes"]
        subprocess.run(command, check=True, stdout=sys.stderr)  # noqa: S603 - our own words
        run = importlib.import_module("aim").Repo(directory).get_run(run_id)
        for metric in run.metrics() if run is not None else ():
            if metric.name in keys:
                steps, (values, _epochs, times) = metric.data.items_list()
                for step, value, time_s in zip(steps, values, times, strict=True):
                    yield metric.name, metric.context.to_dict()["rank"], step, value, round(time_s * 1e6)


CLIENTS = {
    "runstream": Runstream,
    "mlflow": Mlflow,
    "mlflow-async": MlflowAsync,
    "trackio": Trackio,
    "aim": Aim,
}


def _error_of(operations: Any) -> str:
    """What became of what MLflow had queued."""
    try:
        operations.wait()
    except Exception as error:
        return one_line(error)
    return ""


def one_line(error: BaseException) -> str:
    """An error as a reader of a table wants it."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
