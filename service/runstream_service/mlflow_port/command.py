"""The entry point of `runstream agent --mlflow-listen` into this package."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from runstream._endpoint import resolve
from runstream._tls import CannotDial
from runstream._tls_probe import context_of
from runstream.mlflow.address import http_url_here, http_url_of
from runstream_service.mlflow_port.port import MlflowPort
from runstream_service.monitoring import logs
from runstream_service.server.settings import parse_address

if TYPE_CHECKING:
    from runstream.journal import Directory


def prepare(listen: str, address: str, http: str) -> Callable[[Directory], MlflowPort]:
    """Checks the options of the port, and returns a function that opens it on a directory of journals.

    Empty texts stand for the defaults. Raises ValueError with a message for the user if the options cannot work.
    """
    try:
        where = parse_address(listen)
    except ValueError as error:
        raise ValueError(f"--mlflow-listen (RUNSTREAM_MLFLOW_LISTEN): {error}; for example: 127.0.0.1:5000") from error
    endpoint = resolve(address or None, os.environ)
    http_url = http_url_of(endpoint.address, http) if http else http_url_here(endpoint.address, os.environ)
    try:
        context_of(endpoint.tls)
    except CannotDial as error:
        raise ValueError(str(error)) from error
    logs.configure(level="warning", format="auto")
    return lambda directory: MlflowPort(
        directory, listen=(where.host, where.port), endpoint=endpoint, http_url=http_url
    )
