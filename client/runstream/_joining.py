"""Which run a handle writes to: that of its own id, until the service has answered.

A launcher's id may be the same in the next launch. The service knows whether the run of this id had ended before the
process started. Then it answers with another run, the same one for all ranks.
"""

from __future__ import annotations

import os
import time
from typing import Any, NamedTuple

from runstream._identity import Identity
from runstream._launcher import process_age_us

_VERSION = "runstream-python"


class Joining(NamedTuple):
    """What the CREATE record of a handle says, in this process and in those that the handle is handed on to."""

    identity: Identity
    experiment: str
    name: str
    user: str
    address: str
    start_time_unix_us: int
    # Since when the caller has existed, in microseconds since 1970. For a derived id that is the start of the process:
    # a late rank of a launch existed already when its run ended. For an id that was passed explicitly it is that of the
    # handle: then a run that had ended is to be resumed.
    exists_since_unix_us: int
    ends_run: bool
    system_metrics: bool = False
    joins: bool = False  # the run exists already, and is neither created nor set to running again
    ends_all_attempts: bool = False  # its end is that of all attempts, not only of its own and older ones
    reopens: bool = False  # an earlier handle of the same process has written to it

    @classmethod
    def of_new_handle(
        cls, identity: Identity, experiment: str, name: str, user: str, address: str, *, system_metrics: bool
    ) -> Joining:
        """The joining of a handle that `start_run` makes."""
        now = time.time_ns() // 1000
        return cls(
            identity,
            experiment,
            name,
            user,
            address,
            start_time_unix_us=now,
            exists_since_unix_us=now - (process_age_us() if identity.derived else 1),
            ends_run=identity.rank == 0 or not identity.shared,
            system_metrics=system_metrics,
        )

    def answered(self, run_id: str) -> Joining:
        """The same after the service has answered with this run; empty: it has not."""
        return self._replace(identity=self.identity._replace(run_id=run_id, derived=False)) if run_id else self

    def reopened(self, run_id: str) -> Joining:
        """For another handle of the same process, after the one of this joining was finished; `run_id` is what the
        service has answered, or empty."""
        exists_since = self.exists_since_unix_us if self.identity.derived and not run_id else time.time_ns() // 1000 - 1
        return self.answered(run_id)._replace(exists_since_unix_us=exists_since, reopens=True)

    def of_joiner(self) -> Joining:
        """For a forked child, or another process that the handle was sent to: it writes to the same run, and leaves its
        end to the first process."""
        return self._replace(ends_run=False, system_metrics=False)

    def record(self) -> dict[str, Any]:
        """The CREATE record as of now."""
        now = time.time_ns() // 1000
        return {
            "run_id": self.identity.run_id,
            "derived": self.identity.derived,
            "experiment": self.experiment,
            "name": self.name,
            "user": self.user,
            "start_time_unix_us": self.start_time_unix_us,
            "rank": self.identity.rank,
            "attempt": self.identity.attempt,
            "address": self.address,
            "pid": os.getpid(),
            "host": os.uname().nodename,
            "client": _VERSION,
            "age_us": max(1, now - self.exists_since_unix_us),
            "time_unix_us": now,
            "system_metrics": self.system_metrics,
            "joins": self.joins,
            "ends_run": self.ends_run,
            "ends_all_attempts": self.ends_all_attempts,
            "reopens": self.reopens,
        }
