"""Subcommands login, logout and doctor. `runstream.login` and `runstream.doctor` do the work."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from runstream.commands.failures import in_one_line
from runstream.commands.options import address_option


@click.command()
@click.argument("url")
@click.option("--grpc-address", default="", help="The gRPC address, if it is not port 50051 of the same host.")
@click.option("--workspace", default="", help="The workspace, if the token is for several.")
@click.option(
    "--ca", default="", metavar="PATH", help="PEM file of the certificate authority.  [default: RUNSTREAM_TLS_CA]"
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
    help="Where the service serves MLflow's API.  [default: the same host, port 5000]",
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    help="The directory with the journals.  [default: the one that a training process here uses]",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def doctor(address: str | None, http: str | None, directory: Path | None, as_json: bool) -> None:
    """Check the way from a training process here to the service, and say what to do.

    Exit code 1: something is broken, so that points do not arrive.
    """
    with in_one_line():
        from runstream.doctor.command import run

        sys.exit(run(address=address, http=http, directory=directory, as_json=as_json))
