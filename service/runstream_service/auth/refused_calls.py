"""Counts, logs and records calls that were refused, for the audit log. There are limits of all three, since anybody who
reaches the ports can cause such calls."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, NamedTuple

import structlog
from prometheus_client import Counter

from runstream_service.database.queries import load
from runstream_service.errors.core import Forbidden, Retryable, Unauthenticated, WorkspaceNotFound

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from runstream_service.core.caller import Caller
    from runstream_service.database.pool import Database

SQL = load("access")

log = structlog.get_logger()

REFUSALS = (Unauthenticated, Forbidden, WorkspaceNotFound)
WRITE_EVERY_S = 20.0
# Between two writes, this many kinds of refusals are distinguished; further ones are added up as one kind.
MAX_KINDS = 30


class _Kind(NamedTuple):
    """Refusals that are equal in these fields become one line of the log and one row of the audit log. `workspace_id`
    is None if the caller is not known, or if several kinds were added up."""

    reason: str
    workspace_id: int | None
    principal: str
    peer: str
    call: str


class RefusedCalls:
    """The refused calls of this process. Rows are written from when `use` is called; until then they wait."""

    def __init__(self, registry: CollectorRegistry, *, write_every_s: float = WRITE_EVERY_S) -> None:
        self._counter = Counter(
            "runstream_refused_calls_total",
            "Calls that were refused because of who the caller is, or what it may do, by reason.",
            ["reason"],
            registry=registry,
        )
        for error in REFUSALS:
            self._counter.labels(error.reason)
        self._write_every_s = write_every_s
        self._database: Database | None = None
        self._counts: dict[_Kind, int] = {}

    def use(self, database: Database) -> None:
        """Writes rows to this database from now on."""
        self._database = database

    def note(self, error: BaseException, *, call: str, peer: str, caller: Caller | None) -> None:
        """Counts the error that ended a call, if it is a refusal; other errors are ignored. `call` is the full name of
        a method or the template of a route, `peer` the address of the client, `caller` who called, if that is known."""
        if not isinstance(error, REFUSALS):
            return
        self._counter.labels(error.reason).inc()
        # Without messages and parameters: a caller may have put its token in the wrong place.
        kind = _Kind(
            error.reason,
            caller.workspace_id if caller else None,
            caller.principal if caller else "unknown",
            peer,
            call,
        )
        if kind not in self._counts and len(self._counts) >= MAX_KINDS:
            kind = _Kind(error.reason, None, "several", "several", "several")
        if kind not in self._counts:
            log.warning(
                "Refused a call",
                action="call_refused",
                reason=kind.reason,
                principal=kind.principal,
                peer=kind.peer,
                call=kind.call,
            )
        self._counts[kind] = self._counts.get(kind, 0) + 1

    async def run(self) -> None:
        """Writes rows every 20 seconds (`write_every_s`), until it is cancelled."""
        while True:
            await asyncio.sleep(self._write_every_s)
            try:
                await self.write()
            except Retryable as error:
                log.debug("Could not record refusals", action="refusals_not_recorded", error=error.message)

    async def write(self) -> None:
        """Writes a row for each kind of refusal since the last write. Without a database the kinds wait, at most
        MAX_KINDS of them."""
        if self._database is None or not self._counts:
            return
        counts = dict(self._counts)
        details = [
            json.dumps({"reason": kind.reason, "peer": kind.peer, "count": count}) for kind, count in counts.items()
        ]
        await self._database.execute(
            SQL["record_refusals"],
            [kind.workspace_id for kind in counts],
            [kind.principal for kind in counts],
            [kind.call for kind in counts],
            details,
        )
        for kind, count in counts.items():
            self._counts[kind] -= count
            if not self._counts[kind]:
                del self._counts[kind]
