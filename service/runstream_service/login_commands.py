"""Subcommands login and logout: who calls, once for all programs of this user. The client does the work."""

from __future__ import annotations

import click

from runstream_service.data_commands import in_one_line


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
