"""The command `runstream`. The thin client includes it, too, so only the standard library is imported at the top."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command line; if the extra [server] is missing, says how to install it."""
    try:
        from runstream_service.commands import runstream
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("runstream"):
            raise  # a bug, not a missing extra
        sys.stderr.write(
            f"runstream: only the client is installed here ({error.name} is missing); "
            "the service comes with: pip install 'runstream[server]'\n"
        )
        sys.exit(1)
    runstream()
