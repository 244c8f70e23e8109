"""grpc.health.v1: reports the same checks as /readyz, and no checks at all for liveness probes."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from runstream_service.monitoring.readiness import Readiness

# The name that a liveness probe asks for; it is not a service of the contract. It is SERVING as long as the process
# (and its supervisor, if it has one) answers, even without a database: a restart would not bring the database back.
LIVENESS = "liveness"


async def add_health(server: grpc.aio.Server, readiness: Readiness, services: Sequence[str]) -> None:
    """Adds the health service to a server that has not started. `services` are the full names of its services; all of
    them, and "" for the server itself, have the status of `readiness`."""
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)

    async def publish(ready: bool) -> None:
        status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", *services):
            await servicer.set(service, status)

    async def publish_liveness(alive: bool) -> None:
        status = health_pb2.HealthCheckResponse.SERVING if alive else health_pb2.HealthCheckResponse.NOT_SERVING
        await servicer.set(LIVENESS, status)

    await readiness.listen_to_liveness(publish_liveness)
    await readiness.listen(publish)
