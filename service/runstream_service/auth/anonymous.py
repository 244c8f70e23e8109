"""Without authentication, everybody is the same caller, and may do everything."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager

from runstream_service.auth.authenticator import Credentials
from runstream_service.core.caller import DEFAULT_WORKSPACE, DEFAULT_WORKSPACE_ID, Caller, Role
from runstream_service.core.errors import CoreError

_EVERYBODY = Caller(
    workspace_id=DEFAULT_WORKSPACE_ID, workspace=DEFAULT_WORKSPACE, principal="anonymous", role=Role.ADMIN
)


class Anonymous:
    """Implements Authenticator."""

    async def authenticate(self, _credentials: Credentials) -> Caller:
        """The one caller."""
        return _EVERYBODY

    def watching(self, _caller: Caller, _end: Callable[[CoreError], None]) -> AbstractContextManager[None]:
        """Its credentials never end."""
        return contextlib.nullcontext()
