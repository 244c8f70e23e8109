"""Subcommands of a training machine, whose work the client does: login, logout, doctor."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from runstream.commands.failures import in_one_line
from runstream.commands.options import address_option


@click.command()
@click.argument("url")
@click.option("--grpc-address", default="", help="If it is not at port 50051 of the same host.")
@click.option("--workspace", default="", help="Of several that the token is for.  [default: the token decides]")
@click.option(
    "--ca", default="", metavar="PATH", help="PEM file of the authority to trust.  [default: RUNSTREAM_TLS_CA]"
)
def login(url: str, grpc_address: str, workspace: str, ca: str) -> None:
    """Store address and token for all programs of this user. URL is https://host:5000 or grpcs://host:50051.

    Asks for the token without showing it, or reads it from a pipe, and checks it with the service.
    """
    with in_one_line():
        from runstream.login.command import log_in

        click.echo(log_in(url, grpc_address=grpc_address, workspace=workspace, ca=ca))


@click.command()
def logout() -> None:
    """Delete what `runstream login` has stored."""
    with in_one_line():
        from runstream.login.command import log_out

        click.echo(log_out())


@click.command()
@address_option
@click.option(
    "--http",
    envvar="RUNSTREAM_MLFLOW_HTTP_ADDRESS",
    show_envvar=True,
    help="Where the service speaks MLflow's API.  [default: the same host, port 5000]",
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    help="The directory with the journals.  [default: the one that a training process here uses]",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def doctor(address: str | None, http: str | None, directory: Path | None, as_json: bool) -> None:
    """Check what is between a training process here and the service, and say what to do.

    Exit code 1: something is broken, so that points do not arrive.
    """
    with in_one_line():
        from runstream.doctor.command import run

        sys.exit(run(address=address, http=http, directory=directory, as_json=as_json))
