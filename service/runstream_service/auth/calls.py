"""AccessService for the commands of an operator: over gRPC with the caller's own token, or straight in the database.

The second way needs no token, since whoever has the database has everything. It is how the first admin gets one.
"""

from __future__ import annotations

import asyncio
import getpass
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message

from runstream_service.core.caller import DEFAULT_WORKSPACE, DEFAULT_WORKSPACE_ID, Caller, Role

if TYPE_CHECKING:
    from runstream_service.auth.access import Access


class ServiceCalls:
    """Calls of a service that runs."""

    def __init__(self, address: str | None, workspace: str) -> None:
        import runstream

        self._client = runstream.Client(address, workspace=workspace or None)

    def call(self, method: str, request: Message) -> Any:
        """The answer. Raises RunstreamError."""
        from runstream.v1 import access_pb2_grpc

        return self._client._call(access_pb2_grpc.AccessServiceStub, method, request)


class DatabaseCalls:
    """The same methods, executed here."""

    def __init__(self, url: str, workspace: str) -> None:
        self._url = url
        self._workspace = workspace or DEFAULT_WORKSPACE

    def call(self, method: str, request: Message) -> Any:
        """The answer. Raises CannotStart, CoreError."""
        return asyncio.run(self._call(method, request))

    async def _call(self, method: str, request: Message) -> Any:
        from runstream_service.auth.access import Access
        from runstream_service.rpc.access_servicer import AccessServicer
        from runstream_service.rpc.caller import set_caller
        from runstream_service.storage.external import open_at_once

        database = await open_at_once(self._url, max_size=1)
        try:
            access = Access.of(database, is_on=True, public_url=os.environ.get("RUNSTREAM_PUBLIC_URL", ""))
            set_caller(await operator_in(access, self._workspace))
            return await getattr(AccessServicer(access), method)(request, None)
        finally:
            await database.close()


async def operator_in(access: Access, workspace: str) -> Caller:
    """Whoever has the database, in one workspace. Raises WorkspaceNotFound."""
    operator = Caller(
        workspace_id=DEFAULT_WORKSPACE_ID, workspace=DEFAULT_WORKSPACE, principal=_operating_user(), role=Role.ADMIN
    )
    found = await access.workspaces.get(operator, workspace)
    return replace(operator, workspace_id=found.workspace_id, workspace=found.name)


def _operating_user() -> str:
    try:
        return f"operator {getpass.getuser()}"
    except (KeyError, OSError):  # a user without a name, as in many containers
        return f"operator {os.getuid()}"


def choose_calls(
    *, address: str | None, database: str | None, data_dir: Path | None, workspace: str
) -> ServiceCalls | DatabaseCalls:
    """The database if one is named, else the service. Raises CannotStart."""
    from runstream_service.storage.embedded import url_of_running

    if database or data_dir:
        return DatabaseCalls(database or url_of_running(data_dir or Path()), workspace)
    return ServiceCalls(address, workspace)
