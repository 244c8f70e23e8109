"""Subcommands that start a service: serve and demo."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from runstream._masking import mask_secrets
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
    help="Listen beyond this machine without authentication.",
)
def serve(json_ready: bool, allow_anonymous: bool, **values: str) -> None:
    """Run the service in the foreground until SIGTERM or Ctrl-C.

    Without --database, it starts an embedded PostgreSQL below --data-dir.
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


@click.command()
@click.option("--steps", default=5_000, show_default=True, help="Training steps.", type=click.IntRange(10, 1_000_000))
@click.option("--workers", default=4, show_default=True, help="Ranks, each a process.", type=click.IntRange(1, 32))
@click.option("--keep", is_flag=True, help="Let some things go wrong in the run, and keep its page until Ctrl-C.")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the service's data in this directory.  [default: a temporary directory]",
)
def demo(steps: int, workers: int, keep: bool, data_dir: Path | None) -> None:
    """Train a small model in several processes, stream its metrics, and show what was stored.

    Starts a service with an embedded PostgreSQL, and stops both at the end.
    """
    from runstream_service.demo.command import Options, run

    sys.exit(run(Options(steps=steps, workers=workers, keep=keep, data_dir=data_dir)))
