"""The interface of authentication, which the front ends call."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from runstream_service.core.caller import Caller
from runstream_service.errors.core import CoreError


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a call sends: a token, or the session of a browser, and the name of the workspace that it asks for. Each may
    be empty."""

    token: str = field(default="", repr=False)
    workspace: str = ""
    session: str = field(default="", repr=False)


class Authenticator(Protocol):
    """Finds out who calls. There is one per process; it is called for every request, so it has to answer from memory
    most of the time."""

    async def authenticate(self, credentials: Credentials) -> Caller:
        """The caller with these credentials.

        Raises:
            Unauthenticated: there are no credentials, or they are not valid.
            Forbidden: they are valid, but give no right to enter any workspace.
            WorkspaceNotFound: the workspace that the call asks for does not exist, or the caller may not enter it.
            Retryable: it cannot be found out now, for example because the database does not answer.
        """

    def watching(self, caller: Caller, end: Callable[[CoreError], None]) -> AbstractContextManager[None]:
        """For streams: `end` is called if the caller's credentials stop being valid during the block."""
