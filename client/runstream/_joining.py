"""Which run a handle writes to, as its CREATE record says it.

A launcher's id may be the same in its next launch. The service knows whether the run of a derived id had ended before
the process started. It then assigns another run id, the same one to all ranks.
"""

from __future__ import annotations

import os
import time
from typing import Any, NamedTuple

from runstream._identity import Identity
from runstream._launcher import process_age_us

_VERSION = "runstream-python"


class Joining(NamedTuple):
    """The content of a handle's CREATE record, in this process and in those that receive the handle."""

    identity: Identity
    experiment: str
    name: str
    user: str
    address: str
    start_time_unix_us: int
    # Since when the caller has existed, in microseconds since 1970. For a derived id, since the process started: a late
    # rank of a launch already existed when its run ended. For an id that was passed explicitly, since the handle was
    # made: then a run that has ended is resumed.
    exists_since_unix_us: int
    ends_run: bool
    system_metrics: bool = False
    joins: bool = False  # the run exists already: it is neither created nor set to running again
    ends_all_attempts: bool = False  # it ends newer attempts as well, not only its own and older ones
    reopens: bool = False  # an earlier handle of the same process has written to it

    @classmethod
    def for_new_handle(
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

    def with_assigned_id(self, run_id: str) -> Joining:
        """The same with the run id that the service has assigned; unchanged if it has not answered yet (empty)."""
        return self._replace(identity=self.identity._replace(run_id=run_id, derived=False)) if run_id else self

    def reopened(self, run_id: str) -> Joining:
        """The joining of another handle in the same process, after the first one was finished. `run_id` is the one that
        the service has assigned, or empty."""
        exists_since = self.exists_since_unix_us if self.identity.derived and not run_id else time.time_ns() // 1000 - 1
        return self.with_assigned_id(run_id)._replace(exists_since_unix_us=exists_since, reopens=True)

    def for_joiner(self) -> Joining:
        """The joining of a forked child, or of another process that received the handle: it writes to the same run, and
        leaves the run's end to the first process."""
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


def user_name() -> str:
    """The name of the user who runs this process; empty if it is unknown."""
    try:
        import getpass  # here, since it takes long to import

        return getpass.getuser()[:256]
    except Exception:  # no such user in a container: KeyError or OSError, by Python version
        return ""
