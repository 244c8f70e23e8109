"""What the supervisor and the background work call of the front ends, wherever these run."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

if TYPE_CHECKING:
    from runstream_service.artifacts.store import ArtifactStore
    from runstream_service.concurrency.deadlines import Deadline
    from runstream_service.database.pool import Database
    from runstream_service.ingest.backpressure import HotTableGate
    from runstream_service.server.settings import Address


class FrontEnds(Protocol):
    """One front end in this process (frontend.py), or several in processes of their own (worker_pool.py)."""

    grpc_address: Address
    http_address: Address
    monitoring_address: Address | None

    @property
    def serving(self) -> int:
        """How many front ends serve."""

    @property
    def gate(self) -> HotTableGate:
        """Roll-up reports to it how many points wait; it stops ingest when they are too many."""

    @property
    def crashed(self) -> list[asyncio.Future[Any]]:
        """The replica has to end when one of these is done."""

    async def listen(self) -> None:
        """Opens the ports, and answers /healthz. Raises StartupError if a port is in use."""

    async def serve(self, database: Database, artifacts: ArtifactStore) -> None:
        """Serves everything, from a database whose migrations are applied. Returns when all front ends serve.

        Raises:
            StartupError: a worker could not start.
            DatabaseUnavailable: the database went away meanwhile.
        """

    async def streaming_runs(self) -> Collection[UUID]:
        """The runs that have open ingest streams."""

    def report_crash(self) -> bool:
        """Logs what of `crashed` is done, and why; returns whether anything is, so that the replica has to end."""

    async def stop(self, deadline: Deadline) -> None:
        """Ends the streams when what they have sent is committed and acknowledged; then the ports, the reads and the
        processes of workers."""
