"""The command `runstream`. The thin client includes it, too, so only the standard library is imported at the top."""

from __future__ import annotations

import sys

# What the extras bring, by the module that a command misses first. Everything else comes with [server].
_EXTRAS = {
    "click": "cli",
    "rich": "cli",
    "plotext": "cli",
    "google_crc32c": "tensorboard",
    "matplotlib": "cli,png",
    "pyarrow": "server,export",
    "sklearn": "server,demo",
    "mlflow": "server,mlflow",
}


def main() -> None:
    """Runs the command line; if a package is missing, says how to install it."""
    try:
        from runstream_service.commands import runstream

        runstream()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing.startswith("runstream") or not missing:
            raise  # a bug, not a missing extra
        sys.stderr.write(
            f"runstream: {missing} is not installed here; this command comes with: "
            f"pip install 'runstream[{_EXTRAS.get(missing, 'server')}]'\n"
        )
        sys.exit(1)
