"""Which runs exist and what params they have, as far as this process knows.

A write returns before the service has seen it. So that errors are raised where MLflow raises them, the process
remembers the runs that it has created or read: a write to a run that does not exist, or another value of a param, is
refused at once. Conflicts with other processes are refused by the service later.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping

# Beyond this, the run that was used least recently is forgotten: it is read again when it is written to.
_MAX_RUNS = 1_000


class ParamChanged(Exception):
    """A param has another value already."""

    def __init__(self, changes: Mapping[str, tuple[str, str]]) -> None:
        super().__init__(", ".join(changes))
        self.changes = changes  # key -> the stored value and the new one


class KnownRuns:
    """Params of active runs, by run id. May be used from several threads."""

    def __init__(self, max_runs: int = _MAX_RUNS) -> None:
        self._max_runs = max_runs
        self._lock = threading.Lock()
        self._params: OrderedDict[str, dict[str, str]] = OrderedDict()

    def __contains__(self, run_id: object) -> bool:
        return run_id in self._params

    def learn(self, run_id: str, params: Mapping[str, str]) -> None:
        """Notes that a run exists, is active, and has these params."""
        with self._lock:
            self._params[run_id] = dict(params)
            self._params.move_to_end(run_id)
            if len(self._params) > self._max_runs:
                self._params.popitem(last=False)

    def forget(self, run_id: str) -> None:
        """Forgets a run that was deleted or restored, so that the next write reads it again."""
        with self._lock:
            self._params.pop(run_id, None)

    def forget_all(self) -> None:
        """Forgets all runs, as some were deleted or restored."""
        with self._lock:
            self._params.clear()

    def add_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Remembers params that are written now. Raises ParamChanged, and then remembers none of them."""
        with self._lock:
            known = self._params.get(run_id)
            if known is None:
                return
            changes = {key: (known[key], value) for key, value in params.items() if known.get(key, value) != value}
            if changes:
                raise ParamChanged(changes)
            known.update(params)
