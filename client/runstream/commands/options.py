"""Options that several subcommands have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def address_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --address, the address of the service over gRPC."""
    return click.option(
        "--address",
        envvar="RUNSTREAM_ADDRESS",
        show_envvar=True,
        help="Where the service is.  [default: that of the login, else 127.0.0.1:50051]",
    )(command)
