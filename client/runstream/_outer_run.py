"""The run that `runstream exec` has started around this program: `start_run` joins it, whatever experiment and name
the program passes, and leaves the run's end to the command, which knows how the program ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

VARIABLE = "RUNSTREAM_EXEC_RUN"


class OuterRun(NamedTuple):
    """The run of the command around this program; empty texts mean that nothing was chosen."""

    run_id: str
    experiment: str
    name: str

    @classmethod
    def of(cls, environ: Mapping[str, str], run_id: str) -> OuterRun | None:
        """The run of `runstream exec` if it has this id; None if there is none, or it has another id."""
        try:
            outer = cls(*map(str, json.loads(environ.get(VARIABLE, "[]"))))
        except (TypeError, ValueError):  # not written by `runstream exec`
            return None
        return outer if outer.run_id == run_id else None

    def to_variable(self) -> str:
        """The text for the environment of the program."""
        return json.dumps(list(self))
