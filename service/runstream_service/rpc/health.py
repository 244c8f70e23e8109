"""grpc.health.v1, told by the same checks as /readyz; and for probes of liveness, by none."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from runstream_service.readiness import Readiness

# Not of the contract: the name that a probe of liveness asks for. It serves as long as the process answers at all, for
# a restart would not bring the database back.
LIVENESS = "liveness"


async def add_health(server: grpc.aio.Server, readiness: Readiness, services: Sequence[str]) -> None:
    """Adds the health service to a server that has not started. `services` are the full names; "" is the server."""
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)

    async def publish(ready: bool) -> None:
        status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", *services):
            await servicer.set(service, status)

    await servicer.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
    await readiness.listen(publish)
