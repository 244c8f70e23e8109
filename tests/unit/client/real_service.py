"""The real service in this process, for tests of the client: the whole front end of a replica, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import uuid
from collections.abc import Coroutine, Iterator
from types import TracebackType
from typing import Any, TypeVar

import asyncpg
import grpc

from runstream.v1 import run_pb2, run_pb2_grpc
from runstream_bench.tcp_proxy import Proxy
from runstream_service.artifacts.paths import NO_ARTIFACTS
from runstream_service.artifacts.store import ArtifactStore
from runstream_service.concurrency.deadlines import Deadline
from runstream_service.database.embedded import EmbeddedPostgres
from runstream_service.database.pool import Database
from runstream_service.monitoring.metrics import Metrics
from runstream_service.monitoring.readiness import DATABASE, MIGRATIONS, Readiness
from runstream_service.server.frontend import Frontend
from runstream_service.server.pool_shares import LEAST_POOL_SIZE, calls_pool_size
from runstream_service.server.settings import read_settings
from tests.support.databases import fresh_database
from tests.unit.client.ledger import Point

T = TypeVar("T")

_SETTINGS = {
    "--grpc-listen": "127.0.0.1:0",
    "--http-listen": "127.0.0.1:0",
    "--artifacts": NO_ARTIFACTS,
    "--pool-size": str(LEAST_POOL_SIZE),
}


class RealServer:
    """A front end on a migrated database of its own, or on that of another replica. Its event loop runs in a thread,
    since the client under test blocks."""

    def __init__(self, postgres: EmbeddedPostgres, *, database_url: str = "") -> None:
        self._postgres = postgres
        self._database_url = database_url
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="real-service", daemon=True)
        self._ends = contextlib.AsyncExitStack()
        self.database: Database
        self.address = ""
        self.runs: run_pb2_grpc.RunServiceStub

    def __enter__(self) -> RealServer:
        self._thread.start()
        self.do(self._start())
        self._channel = grpc.insecure_channel(self.address)
        self.runs = run_pb2_grpc.RunServiceStub(self._channel)
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.stop()
        self._channel.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def stop(self) -> None:
        """Stops as on SIGTERM: streams end with DRAINING when their batches are acknowledged."""
        self.do(self._ends.aclose())

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs it on the event loop of the service."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """The rows of a query on the service's database."""
        return list(self.do(self.database.fetch(query, *arguments)))

    async def _start(self) -> None:
        url = self._database_url or await self._ends.enter_async_context(fresh_database(self._postgres))
        settings = read_settings(_SETTINGS)
        self.database = await Database.open(url, max_size=calls_pool_size(settings.pool_size))
        self._ends.push_async_callback(self.database.close)
        readiness = Readiness()
        for check in (DATABASE, MIGRATIONS):
            await readiness.passes(check)
        frontend = Frontend(settings, version="test", metrics=Metrics(version="test"), readiness=readiness)
        self._ends.push_async_callback(lambda: frontend.stop(Deadline(2.0)))
        await frontend.listen()
        await frontend.serve(self.database, ArtifactStore.open(settings.artifacts))
        self.address = str(frontend.grpc_address)


class RealService:
    """A real server as one test sees it: at an address of its own, with what was stored since the test began."""

    def __init__(self, server: RealServer) -> None:
        self._server = server
        self._proxy = Proxy(server.address)
        self._earlier = [row["run_id"] for row in server.fetch("SELECT run_id FROM runs")]

    def __enter__(self) -> RealService:
        self._proxy.__enter__()
        self.port = int(self.address.rpartition(":")[2])
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._proxy.__exit__(error_type, error, traceback)

    @property
    def address(self) -> str:
        """That of the proxy in front of the server."""
        return self._proxy.address

    def stop(self) -> None:
        """Breaks every connection; new ones are refused."""
        self._proxy.refuse = True
        self._proxy.cut()

    def start(self) -> None:
        """Accepts connections again, on the same port."""
        self._proxy.refuse = False

    def points(self) -> list[Point]:
        """All points, ordered by series and step."""
        rows = self._server.fetch(
            """
            SELECT key, step, (extract(epoch FROM time) * 1000000)::bigint, value, rank, attempt
              FROM metric_points WHERE run_id = ANY ($1)
             ORDER BY key, rank, attempt, step, time, value
            """,
            self._run_ids(),
        )
        return [tuple(row) for row in rows]

    def values(self, key: str) -> list[float]:
        """The values of the points with this key, ordered by series and step."""
        rows = self._server.fetch(
            """
            SELECT value FROM metric_points WHERE run_id = ANY ($1) AND key = $2
             ORDER BY rank, attempt, step, time, value
            """,
            self._run_ids(),
            key,
        )
        return [row["value"] for row in rows]

    def all_runs(self) -> list[run_pb2.Run]:
        """All runs, deleted ones too."""
        return [self.run(run_id.hex) for run_id in self._run_ids()]

    def run(self, run_id: str) -> run_pb2.Run:
        """One run. Raises LookupError if there is none with this id."""
        try:
            response: run_pb2.GetRunResponse = self._server.runs.GetRun(
                run_pb2.GetRunRequest(run_id=run_id), timeout=60
            )
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                raise LookupError(run_id) from error
            raise
        return response.run

    def producers(self) -> set[str]:
        """The ids of all producers that have opened a stream, as hex digits."""
        rows = self._server.fetch("SELECT producer_id FROM producers WHERE run_id = ANY ($1)", self._run_ids())
        return {row["producer_id"].hex for row in rows}

    def opens(self) -> int:
        """How often producers were opened."""
        query = "SELECT coalesce(sum(session), 0)::bigint AS opens FROM producers WHERE run_id = ANY ($1)"
        return int(self._server.fetch(query, self._run_ids())[0]["opens"])

    def delete_run(self, run_id: str) -> None:
        """Deletes a run as users do: it can be restored."""
        self._server.runs.DeleteRun(run_pb2.DeleteRunRequest(run_id=run_id), timeout=60)

    def restore_run(self, run_id: str) -> None:
        """Restores a run that was deleted."""
        self._server.runs.RestoreRun(run_pb2.RestoreRunRequest(run_id=run_id), timeout=60)

    def restore_database(self, *, with_runs: bool = True) -> int:
        """Goes back to a state without any point, and without runs if these began later; how many points that lost."""
        runs, lost = self._run_ids(), len(self.points())
        for table in ("hot_batches", "producers", *(() if with_runs else ("series", "runs"))):
            self._server.fetch(f"DELETE FROM {table} WHERE run_id = ANY ($1)", runs)
        return lost

    @property
    def connections(self) -> int:
        """How many connections clients have opened."""
        return self._proxy.connections

    def cut(self) -> int:
        """Breaks every connection of clients; how many there were. New ones are accepted."""
        return self._proxy.cut()

    def kill_backends(self) -> int:
        """Ends the service's connections to PostgreSQL, from the side of PostgreSQL; how many there were."""
        query = """
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()
            """
        return len(self._server.fetch(query))

    @contextlib.contextmanager
    def open_unanswered(self) -> Iterator[None]:
        """A block in which no Open is answered, since the ledger is locked."""
        locks = contextlib.AsyncExitStack()

        async def lock() -> None:
            connection = await locks.enter_async_context(self._server.database.transaction())
            await connection.execute("LOCK TABLE producers IN ACCESS EXCLUSIVE MODE")

        self._server.do(lock())
        try:
            yield
        finally:
            self._server.do(locks.aclose())

    def _run_ids(self) -> list[uuid.UUID]:
        rows = self._server.fetch("SELECT run_id FROM runs WHERE run_id <> ALL ($1) ORDER BY run_id", self._earlier)
        return [row["run_id"] for row in rows]
