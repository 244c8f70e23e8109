"""The command `runstream`. The client alone has it, too, so only the standard library is imported at the top."""

from __future__ import annotations

import importlib
import sys

# Commands that also work without click; their options are declared a second time, with argparse.
_PLAIN = {
    "doctor": "runstream.doctor.command",
    "exec": "runstream.exec.command",
    "login": "runstream.login.command",
}
# Our own distributions that may be missing, by their package: what messages call it, and how to get it.
DISTRIBUTIONS = {
    "runstream_service": ("the server", "this command comes with: pip install 'runstream[server]'"),
    "runstream_bench": (
        "the benchmark",
        "it measures runstream, for those who work on it, and comes with a clone of the repository: run `make install` "
        "there, then .venv/bin/runstream bench",
    ),
}
# The extra that installs a package, by the module that a command misses first. Everything else comes with [server].
_EXTRAS = {
    "click": "cli",
    "rich": "cli",
    "plotext": "cli",
    "google_crc32c": "tensorboard",
    "numpy": "export" if sys.argv[1:2] == ["export"] else "tensorboard",
    "matplotlib": "cli,png",
    "pyarrow": "export",
    "sklearn": "server,demo",
    "mlflow": "server,mlflow",
}


def main() -> None:
    """Runs the command line; if a package is missing, says how to install it, unless the command works without it."""
    try:
        from runstream.commands import runstream

        runstream()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if not missing or (missing.startswith("runstream") and error.name not in DISTRIBUTIONS):
            raise  # a bug, not a missing extra
        if missing == "click" and sys.argv[1:2] and sys.argv[1] in _PLAIN:
            sys.exit(importlib.import_module(_PLAIN[sys.argv[1]]).main(sys.argv[2:]))
        extra = f"this command comes with: pip install 'runstream[{_EXTRAS.get(missing, 'server')}]'"
        what, how_to_get_it = DISTRIBUTIONS.get(missing, (missing, extra))
        sys.stderr.write(f"runstream: {what} is not installed here; {how_to_get_it}\n")
        sys.exit(1)
