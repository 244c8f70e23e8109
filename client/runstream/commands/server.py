"""Imports modules of the server, which is a distribution of its own and may not be installed."""

from __future__ import annotations

import importlib
from types import ModuleType

SERVER = "runstream_service"


def from_server(module: str) -> ModuleType:
    """A module below the server's package, found by its name: nothing of the client imports the server.

    Raises ModuleNotFoundError where the server is not installed; `runstream.cli` says what to install.
    """
    return importlib.import_module(f"{SERVER}.{module}")
