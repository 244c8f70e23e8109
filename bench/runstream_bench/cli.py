"""The subcommand `runstream bench`: its options. The client's `runstream.commands` finds it by name.

Each benchmark is imported when its option is given.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from runstream_bench.durability.names import SCENARIOS, TRACKERS
from runstream_bench.fault_rounds import ROUNDS
from runstream_service.monitoring import logs

SCALE = click.FloatRange(0.01, 100)


class Several(click.ParamType[tuple[str, ...]]):
    """Names separated by commas. The command checks them, since which names exist depends on other options."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        return tuple(name.strip() for name in str(value).split(",") if name.strip())


def _chosen(option: str, given: tuple[tuple[str, ...], ...], known: Iterable[str]) -> tuple[str, ...]:
    """All names that were given. Raises click.BadParameter for one that is not known."""
    names = tuple(name for several in given for name in several)
    for name in names:
        if name not in known:
            raise click.BadParameter(f"{name!r} is not one of {', '.join(known)}.", param_hint=f"'{option}'")
    return names


@click.command()
@click.option(
    "--seconds",
    help="Length of one round; of --workers, how long they log; of --faults, how long a replica is cut off.  "
    "[default: 5; 60 with --workers and --faults]",
    type=click.FloatRange(0.1, 3_600),
)
@click.option("--pairs", default=3, show_default=True, help="Rounds of each load.", type=click.IntRange(1, 100))
@click.option("--storage", is_flag=True, help="Measure what becomes of points instead: roll-up, sizes, reads, tail.")
@click.option(
    "--workers",
    metavar="N",
    help="Measure instead what N training workers take that log 20 metrics a second.",
    type=click.IntRange(1, 4_000),
)
@click.option(
    "--serve-workers",
    metavar="N",
    help="Measure instead what N workers of the service take, against one process, with writers that drop the points.",
    type=click.IntRange(2, 64),
)
@click.option("--auth", is_flag=True, help="Measure instead what it costs the service to ask who calls.")
@click.option("--tls", is_flag=True, help="Measure instead what TLS costs the service, against plaintext.")
@click.option("--fairness", is_flag=True, help="Measure acks of one workspace instead, while another one overloads.")
@click.option("--page", is_flag=True, help="Measure instead what 200 open pages of one run cost the service.")
@click.option("--mlflow", is_flag=True, help="Measure MLflow's routes instead, against stock MLflow and FastTrackML.")
@click.option(
    "--client", is_flag=True, help="Measure instead what the client costs a training process, and the agent's drain."
)
@click.option("--faults", is_flag=True, help="Restart, stop, slow and kill under load instead; count what is stored.")
@click.option(
    "--scale",
    default=1.0,
    show_default=True,
    help="Of --storage, --mlflow and --client: a part of the data; of --faults: of load and time; of --durability: of "
    "all times; of --tls, or without an option for something else: of the streams.",
    type=SCALE,
)
@click.option(
    "--durability",
    is_flag=True,
    help="Do the same harm to runstream, MLflow, FastTrackML, Trackio and Aim instead; count what each has lost.",
)
@click.option(
    "--only",
    multiple=True,
    help=f"Of --faults: some rounds alone, of {', '.join(ROUNDS)}. Of --durability: some trackers alone, of "
    f"{', '.join(TRACKERS)}. With commas, or given again.",
    type=Several(),
)
@click.option(
    "--scenario",
    multiple=True,
    help=f"Of --durability: some scenarios alone, of {', '.join(SCENARIOS)}. With commas, or given again.",
    type=Several(),
)
@click.option(
    "--write",
    metavar="FILE",
    help="Of --durability: write the tables into this Markdown file, too, between the marks that it has for them.",
    type=click.Path(dir_okay=False, path_type=Path),
)
@click.option(
    "--mlflow-python", metavar="PATH", help="Of --mlflow: a Python with mlflow and psycopg2; else one is made."
)
@click.option(
    "--keep",
    metavar="FILE",
    help="Of --durability: add each result to this file at once, and do not measure again what it has.",
    type=click.Path(dir_okay=False, path_type=Path),
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout instead of a table.")
def bench(
    seconds: float | None,
    pairs: int,
    storage: bool,
    workers: int | None,
    serve_workers: int | None,
    auth: bool,
    tls: bool,
    fairness: bool,
    page: bool,
    mlflow: bool,
    client: bool,
    faults: bool,
    scale: float,
    durability: bool,
    only: tuple[tuple[str, ...], ...],
    scenario: tuple[tuple[str, ...], ...],
    write: Path | None,
    keep: Path | None,
    mlflow_python: str | None,
    as_json: bool,
) -> None:
    """Measure ingest against COPY alone, its CPU seconds, ack latency, the cost of log(), and memory.

    Starts a PostgreSQL and a service of its own; takes about two minutes, --workers and --client too, --faults about
    four, --storage about six, --mlflow about five, --durability about fifteen, and the last two longer the first time,
    when they install the others into the user's cache.
    """
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
    logs.configure(level="warning", format="auto")
    if durability:
        trackers, scenarios = _chosen("--only", only, TRACKERS), _chosen("--scenario", scenario, SCENARIOS)
        from runstream_bench.durability import command as durability_bench

        sys.exit(
            durability_bench.run(only=trackers, wanted=scenarios, scale=scale, as_json=as_json, write=write, keep=keep)
        )
    rounds = _chosen("--only", only, ROUNDS)
    if faults:
        from runstream_bench import faults as faults_bench

        sys.exit(faults_bench.run(scale=scale, seconds=seconds, only=rounds, as_json=as_json))
    if client:
        from runstream_bench import client_command

        sys.exit(client_command.run(scale=scale, as_json=as_json))
    if storage:
        from runstream_bench import storage as storage_bench

        sys.exit(storage_bench.run(scale=scale, as_json=as_json))
    if workers:
        from runstream_bench import workers as workers_bench

        sys.exit(workers_bench.run(workers=workers, seconds=seconds or 60.0, as_json=as_json))
    if serve_workers:
        from runstream_bench import serve_workers as serve_workers_bench

        sys.exit(serve_workers_bench.run(workers=serve_workers, seconds=seconds or 5.0, pairs=pairs, as_json=as_json))
    if auth:
        from runstream_bench import auth_cost

        sys.exit(auth_cost.run(seconds=seconds or 5.0, pairs=pairs, as_json=as_json))
    if tls:
        from runstream_bench import tls_cost

        sys.exit(tls_cost.run(seconds=seconds or 5.0, pairs=pairs, scale=scale, as_json=as_json))
    if fairness:
        from runstream_bench import fairness as fairness_bench

        sys.exit(fairness_bench.run(seconds=seconds or 5.0, pairs=pairs, as_json=as_json))
    if page:
        from runstream_bench import open_pages

        sys.exit(open_pages.run(seconds=seconds or 20.0, as_json=as_json))
    if mlflow:
        from runstream_bench import mlflow_command

        sys.exit(mlflow_command.run(seconds=seconds or 5.0, scale=scale, mlflow_python=mlflow_python, as_json=as_json))
    from runstream_bench.command import run

    sys.exit(run(seconds=seconds or 5.0, pairs=pairs, scale=scale, as_json=as_json))
