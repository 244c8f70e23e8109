"""Which run a handle writes to: that of its own id, until the service has answered CreateRun.

A launcher's id may be the same in the next launch. The service knows whether the run of this id had ended before the
process started. Then it answers with another run, the same one for all ranks.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from runstream._identity import Identity
from runstream._launcher import process_age_us
from runstream._notices import Notices
from runstream.v1 import run_pb2

# Reading the id waits this long for the service, once, and only for derived ids: all others are final.
_WAIT_FOR_ID_S = 2.0


class Joining:
    """The CreateRun of one handle, and its result. The control thread calls `answered`; any thread calls the rest."""

    def __init__(self, identity: Identity, request: run_pb2.CreateRunRequest) -> None:
        self._identity = identity
        self._request = request
        self._request.run_id = identity.run_id
        self._request.rank = identity.rank
        self._request.attempt = identity.attempt
        self._request.derived = identity.derived
        self._started_s = time.monotonic()
        self._final = threading.Event()
        if not identity.derived:
            self._final.set()
        self._shown = False  # the id was read before it was final
        self.run_id = identity.run_id

    @property
    def rank(self) -> int:
        """The same as in CreateRunRequest."""
        return self._request.rank

    @property
    def attempt(self) -> int:
        """The same as in CreateRunRequest."""
        return self._request.attempt

    @property
    def experiment(self) -> str:
        """The experiment that was asked for; empty if any will do."""
        return self._request.experiment

    def request(self) -> run_pb2.CreateRunRequest:
        """The request with the current age of the caller, which grows while the service is away."""
        self._request.age_us = self._age_us()
        return self._request

    def _age_us(self) -> int:
        """For a derived id, the age of the process: a late rank of a launch existed already when its run ended. For an
        id that was passed explicitly, the age of the handle: then a run that had ended is to be resumed."""
        if self._request.derived:
            return process_age_us()
        return max(1, int((time.monotonic() - self._started_s) * 1e6))

    def final_run_id(self) -> str:
        """The id. If it may still change, waits a short time for the service, once."""
        if not self._final.is_set():
            if not self._shown:
                self._final.wait(_WAIT_FOR_ID_S)
            self._shown = not self._final.is_set()
        return self.run_id

    def in_any_experiment(self) -> None:
        """Accepts that the run of this id is in another experiment than the requested one."""
        self._request.experiment = ""

    def answered(self, response: run_pb2.CreateRunResponse, notices: Notices) -> None:
        """Takes the run that the service answers with."""
        run = response.run
        if run.run_id and run.run_id != self.run_id:
            self._move(run.run_id, notices)
        self._final.set()
        # If the service forgets the run, the next CreateRun must create exactly this one.
        self._request.derived = False
        if self.experiment and run.experiment != self.experiment:
            notices.once(
                "experiment",
                "the experiment %r is deleted, so the run is in %r; to have runs in %r again, restore it (in the web "
                "UI of MLflow, or with `mlflow experiments restore`), or take another name",
                self.experiment,
                run.experiment,
                self.experiment,
            )

    def _move(self, run_id: str, notices: Notices) -> None:
        before, self.run_id = self.run_id, run_id
        self._request.run_id = run_id
        notices.run_id = run_id
        if self._shown:
            notices.warn(
                "run_id was read before the service had answered, and is another one now: the launcher gave this job "
                "the same id as an earlier one, whose run %s has ended; points go to this run",
                before,
            )
        else:
            notices.info("the launcher gave this job the same id as an earlier one, whose run %s has ended", before)

    def for_forked_child(self) -> Joining:
        """A copy with its own locks; the child writes to the same run."""
        request = run_pb2.CreateRunRequest()
        request.CopyFrom(self._request)
        child = Joining(replace(self._identity, run_id=self.run_id, derived=self._request.derived), request)
        child._started_s = self._started_s
        return child
