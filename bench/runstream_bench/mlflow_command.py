"""`runstream bench --mlflow`: MLflow's routes, against a stock `mlflow server` and FastTrackML in the same run."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from runstream_bench import mlflow_fill, mlflow_reads, mlflow_servers, mlflow_writes
from runstream_bench.mlflow_servers import NotInstalled, Server, Starter
from runstream_bench.mlflow_writes import Values
from runstream_bench.progress import say
from runstream_service.database.embedded import EmbeddedPostgres

Say = Callable[[str], None]
Fill = Callable[[Server, float], Awaitable[mlflow_fill.Filled]]

OURS, STOCK, FASTTRACKML = "runstream", "mlflow", "fasttrackml"


def run(*, seconds: float, scale: float, mlflow_python: str | None, as_json: bool) -> int:
    """Measures and prints. Returns the exit code: 1 if a point is missing or stored twice."""
    found = uvloop.run(_measure(seconds, scale, mlflow_python, say))
    if as_json:
        sys.stdout.write(json.dumps({**_flat(found), **_ratios(found)}) + "\n")
    else:
        _print(found, Console())
    ours = found[OURS]
    return 0 if ours["exact"] and ours["crowd_exact"] and ours["artifact_exact"] else 1


async def _measure(seconds: float, scale: float, mlflow_python: str | None, say: Say) -> dict[str, Values]:
    found: dict[str, Values] = {}
    with tempfile.TemporaryDirectory(prefix="runstream-bench-") as name:
        directory = Path(name)
        os.chmod(name, 0o755)  # noqa: S103 - for root, PostgreSQL runs as another user
        postgres = EmbeddedPostgres(directory)
        await postgres.start()
        try:
            for label, starter, fill in _servers(mlflow_python, say):
                say(f"{label}: starting")
                async with starter(postgres.url, directory) as server:
                    found[label] = await _measure_one(server, fill, seconds, scale, say)
        finally:
            await postgres.stop()
    return found


def _servers(mlflow_python: str | None, say: Say) -> list[tuple[str, Starter, Fill | None]]:
    """The servers that can be installed here; ours is the last."""
    servers: list[tuple[str, Starter, Fill | None]] = []
    try:
        python = mlflow_python or str(_installed(STOCK, mlflow_servers.MLFLOW, "psycopg2-binary", say=say) / "python")
        servers.append((STOCK, mlflow_servers.stock(python), mlflow_fill.into_tables_of_mlflow))
    except NotInstalled as error:
        say(f"without stock MLflow, which cannot be installed: {error}")
    try:
        # The package also has a client; the server is a single binary.
        folder = _installed(FASTTRACKML, mlflow_servers.FASTTRACKML, options=("--no-deps",), say=say)
        servers.append((FASTTRACKML, mlflow_servers.fasttrackml(str(folder / "fml")), None))
    except NotInstalled as error:
        say(f"without FastTrackML, which cannot be installed: {error}")
    return [*servers, (OURS, mlflow_servers.runstream, mlflow_fill.through_http)]


def _installed(name: str, *packages: str, options: tuple[str, ...] = (), say: Say) -> Path:
    say(f"{name}: an environment with {' and '.join(packages)}; made once")
    return mlflow_servers.environment(name, packages, *options)


async def _measure_one(server: Server, fill: Fill | None, seconds: float, scale: float, say: Say) -> Values:
    say(f"{server.name}: writes")
    values = await mlflow_writes.measure(server, seconds)
    if fill is None:
        return values
    say(f"{server.name}: artifacts")
    values |= await mlflow_reads.artifacts(server, scale)
    say(f"{server.name}: filling for reads")
    filled = await fill(server, scale)
    say(f"{server.name}: reads")
    return values | await mlflow_reads.measure(server, filled)


def _flat(found: dict[str, Values]) -> Values:
    return {f"{label}_{key}": _rounded(value) for label, values in found.items() for key, value in values.items()}


def _ratios(found: dict[str, Values]) -> Values:
    """The ratios of our points a second to those of the others."""
    return {
        f"times_{label}_{key.removesuffix('_per_s').removesuffix('_points')}": _rounded(found[OURS][key] / values[key])
        for label, values in found.items()
        if label != OURS
        for key in values
        if key.endswith("_per_s")
    }


def _rounded(value: float | bool) -> float | bool:
    if isinstance(value, bool):
        return value
    return round(value) if value > 1000 else round(value, 2)


def _print(found: dict[str, Values], console: Console) -> None:
    table = Table("what", *found, "aim", title="runstream bench --mlflow", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for label, key, unit, aim in _ROWS:
        table.add_row(label, *(_cell(values.get(key), unit) for values in found.values()), aim)
    for label, key, unit, aim in _TIMES:
        ratio = _ratios(found).get(key)
        table.add_row(label, *[""] * (len(found) - 1), _cell(ratio, unit), aim)
    console.print(table)
    console.print(f"{os.cpu_count()} cores, for the servers, PostgreSQL and the callers together")


def _cell(value: float | bool | None, unit: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:,.{0 if value >= 100 else 1}f} {unit}".rstrip()


_ROWS = (
    ("log-batch of 1,000, 8 callers", "log_batch_1000_points_per_s", "points/s", ""),
    ("log-batch of 50, 8 callers", "log_batch_50_points_per_s", "points/s", ""),
    ("log-metric, 1 caller", "log_metric_1_per_s", "/s", ">= 400"),
    ("    median", "log_metric_1_median_ms", "ms", "< 3"),
    ("log-metric, 32 callers", "log_metric_32_per_s", "/s", ">= 2,000"),
    ("    median", "log_metric_32_median_ms", "ms", ""),
    ("every point stored once", "exact", "", "yes"),
    ("20 callers x 1,000 points into one run", "crowd_exact", "", "yes"),
    ("search 10,000 runs by metric, 100 a page", "search_100_ms", "ms", "< 60"),
    ("    1,000 a page", "search_1000_ms", "ms", ""),
    ("get a run with 50 metrics", "get_run_ms", "ms", "< 5"),
    ("history of 25,000 points", "history_25k_ms", "ms", "< 60"),
    ("20 runs x 320 of 100,000 points", "bulk_interval_ms", "ms", "< 100"),
    ("artifact upload", "upload_mb_per_s", "MB/s", ">= 32"),
    ("artifact download", "download_mb_per_s", "MB/s", ">= 32"),
    ("    growth of memory meanwhile", "artifact_growth_mb", "MB", "flat"),
    ("memory after the writes", "rss_mb", "MB", ""),
)
_TIMES = (
    ("log-batch of 1,000: times mlflow", "times_mlflow_log_batch_1000", "x", ">= 20"),
    ("log-batch of 1,000: times fasttrackml", "times_fasttrackml_log_batch_1000", "x", ">= 5"),
    ("log-batch of 50: times mlflow", "times_mlflow_log_batch_50", "x", ">= 20"),
    ("log-batch of 50: times fasttrackml", "times_fasttrackml_log_batch_50", "x", ">= 5"),
)
