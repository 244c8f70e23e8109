"""Calls of AccessService for the commands about access: over gRPC with the user's token, or directly in the database.

The second way needs no token, since access to the database is access to everything. The first admin's token is created
this way.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from runstream_service.core.caller import DEFAULT_WORKSPACE


class ServiceCalls:
    """Calls a running service."""

    def __init__(self, address: str | None, workspace: str) -> None:
        import runstream

        self._client = runstream.Client(address, workspace=workspace or None)

    def call(self, method: str, request: Message) -> Any:
        """The response of an RPC. Raises RunstreamError."""
        from runstream.v1 import access_pb2_grpc

        return self._client._call(access_pb2_grpc.AccessServiceStub, method, request)


class DatabaseCalls:
    """Executes the same RPCs in this process, in the service's database."""

    def __init__(self, url: str, workspace: str) -> None:
        self._url = url
        self._workspace = workspace or DEFAULT_WORKSPACE

    def call(self, method: str, request: Message) -> Any:
        """The response of an RPC. Raises StartupError, CoreError."""
        return asyncio.run(self._call(method, request))

    async def _call(self, method: str, request: Message) -> Any:
        from runstream_service.auth.access import Access
        from runstream_service.auth.operator import operator_in
        from runstream_service.database.external import open_at_once
        from runstream_service.rpc.access_servicer import AccessServicer
        from runstream_service.rpc.caller import set_caller

        database = await open_at_once(self._url, max_size=1)
        try:
            access = Access.of(database, is_on=True, public_url=os.environ.get("RUNSTREAM_PUBLIC_URL", ""))
            set_caller(await operator_in(access, self._workspace))
            return await getattr(AccessServicer(access), method)(request, None)
        finally:
            await database.close()


def choose_calls(
    *, address: str | None, database: str | None, data_dir: Path | None, workspace: str
) -> ServiceCalls | DatabaseCalls:
    """Calls in the database if one is named, else calls of the service. Raises StartupError."""
    from runstream_service.database.embedded import url_of_running

    if database or data_dir:
        return DatabaseCalls(database or url_of_running(data_dir or Path()), workspace)
    return ServiceCalls(address, workspace)
