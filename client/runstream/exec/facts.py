"""Facts about the program as tags: where it runs, its command line, and the git commit of its sources."""

from __future__ import annotations

import os
import shlex
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence

_MAX_CHARACTERS = 2_000
_GIT_TIMEOUT_S = 5.0  # a repository on a slow network disk
_LAST_MOMENT_S = 0.1  # how long to wait for git when the program has ended


def of_command(command: Sequence[str]) -> dict[str, str]:
    """The tags that need no other program. MLflow's web UI shows the tag mlflow.source.name as the source."""
    line = shlex.join(command)[:_MAX_CHARACTERS]
    return {
        "runstream.command": line,
        "runstream.directory": os.getcwd()[:_MAX_CHARACTERS],
        "runstream.host": os.uname().nodename,
        "mlflow.source.name": line,
        "mlflow.source.type": "LOCAL",
    }


class Commit:
    """Asks git about the working directory in a thread, as it may take seconds; calls `found` with tags."""

    def __init__(self, found: Callable[[Mapping[str, str]], None]) -> None:
        self._found = found
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._ask, name="runstream-git", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Waits for git for a moment; `found` is not called afterwards."""
        self._thread.join(_LAST_MOMENT_S)
        with self._lock:
            self._found = lambda tags: None

    def _ask(self) -> None:
        if commit := _git("rev-parse", "HEAD"):
            self._report({"mlflow.source.git.commit": commit})
            changes = _git("status", "--porcelain", "--untracked-files=no")
            if changes is not None:
                self._report({"runstream.git_changes": "yes" if changes else "no"})

    def _report(self, tags: Mapping[str, str]) -> None:
        with self._lock:
            self._found(tags)


def _git(*arguments: str) -> str | None:
    """The output of git; None if this is not a repository, or there is no git."""
    try:
        done = subprocess.run(  # noqa: S603 (the arguments are ours)
            ["git", *arguments],  # noqa: S607 (the git of the user)
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_GIT_TIMEOUT_S,
            check=True,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},  # the program may be using git at the same time
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace").strip()
