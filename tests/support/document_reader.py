"""Somebody who follows a document: a directory, a service that runs, and the processes that are started there."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.access import AUTH
from tests.support.preloaded import Preloaded
from tests.support.serve import ServeProcess, command_environment


@dataclass
class Reader:
    """Somebody who follows a document in a directory of their own, with a service that runs."""

    directory: Path
    serve: ServeProcess
    said: dict[str, str] = field(default_factory=dict)  # command -> its output
    ending: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    token: str = ""  # the one that was printed first
    fresh: bool = False  # whether each program imports what it needs, as for users

    @functools.cached_property
    def asking(self) -> ServeProcess:
        """A service that asks for tokens."""
        return self.ending.enter_context(ServeProcess(self.directory / "asking", arguments=AUTH))

    def environment(self, extra: dict[str, str]) -> dict[str, str]:
        """The environment of a command, without the variables of a launcher, except those in `extra`."""
        launcher = re.compile("RANK$|^SLURM_|^OMPI_|^PMI|^TORCHELASTIC_|WORLD_SIZE$")
        bare = {name: value for name, value in command_environment().items() if not launcher.search(name)}
        return {**bare, "RUNSTREAM_ADDRESS": self.serve.grpc_address, "MLFLOW_DISABLE_TELEMETRY": "true", **extra}

    def start(self, *command: str, **extra: str) -> subprocess.Popen[str]:
        """Starts a program; those in Python have their modules imported already, unless `fresh`."""
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        if self.fresh or command[0] not in (sys.executable, program("runstream")):
            return subprocess.Popen(command, cwd=self.directory, env=self.environment(extra), text=True, **pipes)
        words = command if command[0] == sys.executable else (sys.executable, *command)
        return Preloaded(words, self.environment(extra), cwd=self.directory, **pipes)

    def run(self, *command: str) -> str:
        """Runs a command to its end; it has to succeed, without output on stderr."""
        return output_of(self.start(*command))


def output_of(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=250)
    err = re.sub(r"(?m)^\d{4}/\d\d/\d\d \S+ (INFO|WARNING) mlflow\b.*\n", "", err)  # what MLflow always says
    err = re.sub(r"(?m)^run [0-9a-f]{32}: waiting up to .*\n", "", err)  # a busy machine needs its time at the end
    assert (process.returncode, err) == (0, ""), out + err
    return out


def program(name: str) -> str:
    return os.path.join(os.path.dirname(sys.executable), name)
