"""Subcommands that start a service: serve, bench, demo."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from runstream._masking import mask_secrets
from runstream_service.bench.durability.names import SCENARIOS, TRACKERS
from runstream_service.bench.fault_rounds import ROUNDS
from runstream_service.errors.startup import StartupError
from runstream_service.monitoring import logs
from runstream_service.server import process_tuning
from runstream_service.server.settings import OPTIONS, check_who_can_reach, read_settings


def _setting_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Declares all settings as options. Their values stay text here; server/settings.py checks all of them."""
    for option in reversed(OPTIONS):
        command = click.option(
            option.flag,
            envvar=option.variable,
            show_envvar=True,
            default=option.default,
            show_default=option.default or False,
            help=option.help,
            metavar="VALUE",
        )(command)
    return command


@click.command()
@_setting_options
@click.option(
    "--json-ready",
    is_flag=True,
    envvar="RUNSTREAM_JSON_READY",
    show_envvar=True,
    help="Print one line of JSON with both addresses once the service is ready, and nothing else on stdout.",
)
@click.option(
    "--allow-anonymous",
    is_flag=True,
    envvar="RUNSTREAM_ALLOW_ANONYMOUS",
    show_envvar=True,
    help="Listen beyond this machine without asking who calls.",
)
def serve(json_ready: bool, allow_anonymous: bool, **values: str) -> None:
    """Run the service in the foreground until SIGTERM or Ctrl-C.

    Without --database it starts a PostgreSQL of its own below --data-dir.
    """
    try:
        settings = read_settings(
            {f"--{name.replace('_', '-')}": value for name, value in values.items()}, json_ready=json_ready
        )
        check_who_can_reach(settings, allow_anonymous=allow_anonymous)
        logs.configure(level=settings.log_level, format=settings.log_format)
        # The service starts programs (PostgreSQL), but never continues in a fork: gRPC's fork handlers would only log.
        os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
        # Imported late, so that `--help` need not wait for numpy and grpc.
        with process_tuning.no_collections():
            from runstream_service.server.supervisor import run

        sys.exit(run(settings))
    except StartupError as refusal:
        click.echo(f"runstream: {mask_secrets(str(refusal))}", err=True)
        sys.exit(refusal.exit_code)


SCALE = click.FloatRange(0.01, 100)


class Several(click.ParamType[tuple[str, ...]]):
    """Names with commas between them. Which ones there are is the caller's to say: it may depend on other options."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        return tuple(name.strip() for name in str(value).split(",") if name.strip())


def _chosen(option: str, given: tuple[tuple[str, ...], ...], known: Iterable[str]) -> tuple[str, ...]:
    """All that was named, which must be known."""
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
    "all times.",
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
        from runstream_service.bench.durability import command as durability_bench

        sys.exit(
            durability_bench.run(only=trackers, wanted=scenarios, scale=scale, as_json=as_json, write=write, keep=keep)
        )
    rounds = _chosen("--only", only, ROUNDS)
    if faults:
        from runstream_service.bench import faults as faults_bench

        sys.exit(faults_bench.run(scale=scale, seconds=seconds, only=rounds, as_json=as_json))
    if client:
        from runstream_service.bench import client_command

        sys.exit(client_command.run(scale=scale, as_json=as_json))
    if storage:
        from runstream_service.bench import storage as storage_bench

        sys.exit(storage_bench.run(scale=scale, as_json=as_json))
    if workers:
        from runstream_service.bench import workers as workers_bench

        sys.exit(workers_bench.run(workers=workers, seconds=seconds or 60.0, as_json=as_json))
    if serve_workers:
        from runstream_service.bench import serve_workers as serve_workers_bench

        sys.exit(serve_workers_bench.run(workers=serve_workers, seconds=seconds or 5.0, pairs=pairs, as_json=as_json))
    if auth:
        from runstream_service.bench import auth_cost

        sys.exit(auth_cost.run(seconds=seconds or 5.0, pairs=pairs, as_json=as_json))
    if tls:
        from runstream_service.bench import tls_cost

        sys.exit(tls_cost.run(seconds=seconds or 5.0, pairs=pairs, as_json=as_json))
    if fairness:
        from runstream_service.bench import fairness as fairness_bench

        sys.exit(fairness_bench.run(seconds=seconds or 5.0, pairs=pairs, as_json=as_json))
    if page:
        from runstream_service.bench import open_pages

        sys.exit(open_pages.run(seconds=seconds or 20.0, as_json=as_json))
    if mlflow:
        from runstream_service.bench import mlflow_command

        sys.exit(mlflow_command.run(seconds=seconds or 5.0, scale=scale, mlflow_python=mlflow_python, as_json=as_json))
    from runstream_service.bench.command import run

    sys.exit(run(seconds=seconds or 5.0, pairs=pairs, as_json=as_json))


@click.command()
@click.option("--steps", default=5_000, show_default=True, help="Training steps.", type=click.IntRange(10, 1_000_000))
@click.option("--workers", default=4, show_default=True, help="Ranks, a process each.", type=click.IntRange(1, 32))
@click.option("--keep", is_flag=True, help="A run in which some things go wrong; its page stays until Ctrl-C.")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the service keeps its data, and leaves them; otherwise a temporary directory.",
)
def demo(steps: int, workers: int, keep: bool, data_dir: Path | None) -> None:
    """Train a small model in several processes, stream its metrics, and show what was stored.

    Starts a service of its own with a PostgreSQL of its own, and stops both at the end.
    """
    from runstream_service.demo.command import Options, run

    sys.exit(run(Options(steps=steps, workers=workers, keep=keep, data_dir=data_dir)))
