"""What the supervisor and the background work know of the front ends."""

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
        """How many of them serve."""

    @property
    def gate(self) -> HotTableGate:
        """Learns how many points wait for roll-up, and stops ingest when they are too many."""

    @property
    def crashed(self) -> list[asyncio.Future[Any]]:
        """The replica has to end when one of these is done."""

    async def listen(self) -> None:
        """Take the ports, and answer /healthz. Raises StartupError."""

    async def serve(self, database: Database, artifacts: ArtifactStore) -> None:
        """Serve everything; the database is migrated. Returns when it does.

        Raises:
            StartupError, DatabaseUnavailable.
        """

    async def streaming_runs(self) -> Collection[UUID]:
        """The runs that have open streams."""

    def report_crash(self) -> bool:
        """Log why the replica has to end; returns whether it has to."""

    async def stop(self, deadline: Deadline) -> None:
        """End the streams with what they sent committed and acknowledged, then the rest."""
