"""Replicas identify themselves in PostgreSQL by the names of their connections, so there is no list of them to keep.

A name is `runstream-writer/0.1.0 HOST:PID`: the purpose of the connection, the version, and the process. A replica that
dies disappears from pg_stat_activity with its connections; there is no heartbeat and no row to clean up.
"""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass

# PostgreSQL truncates names to 63 bytes. A host is cut by the longest kind of connection, so that it is the same in all
# of them.
_LONGEST_KIND = "runstream-migration"
_NAME_BYTES = 63 - len(f"{_LONGEST_KIND}/")
_NAME = re.compile(r"runstream(?:-[a-z]+)?/(?P<version>\S+) (?P<host>\S+):(?P<pid>[0-9]+)")


@dataclass(frozen=True, slots=True)
class ReplicaId:
    """A process of the service: its version, host and pid. On Kubernetes the host is the pod."""

    version: str
    host: str
    pid: int

    @classmethod
    def of_this_process(cls, version: str) -> ReplicaId:
        """The id of this process."""
        return cls(version, socket.gethostname(), os.getpid())

    @classmethod
    def parse(cls, application_name: str) -> ReplicaId | None:
        """The replica that a connection belongs to; None if it belongs to none."""
        found = _NAME.fullmatch(application_name)
        return None if found is None else cls(found["version"], found["host"], int(found["pid"]))

    def application_name(self, kind: str) -> str:
        """The name of a connection of this replica, at most 63 bytes. A long host name keeps its end, in which the pods
        of a deployment differ."""
        room = _NAME_BYTES - len(f"{self.version} :{self.pid}")
        return f"{kind}/{self.version} {self.host[-room:]}:{self.pid}"
