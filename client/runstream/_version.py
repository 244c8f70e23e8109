"""The version of this runstream."""

from __future__ import annotations

import functools
import importlib.metadata


@functools.cache
def version() -> str:
    """The version of the installed package; "unknown" in a source tree that is not installed."""
    try:
        return importlib.metadata.version("runstream")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
