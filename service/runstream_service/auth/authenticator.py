"""What the front ends need to know about authentication."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from runstream_service.core.caller import Caller
from runstream_service.errors.core import CoreError


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a call brings along: a token, or the session of a browser, and the name of the workspace that it asks for;
    each may be empty."""

    token: str = field(default="", repr=False)
    workspace: str = ""
    session: str = field(default="", repr=False)


class Authenticator(Protocol):
    """One per process. It is called for every request, so it has to answer from memory nearly always."""

    async def authenticate(self, credentials: Credentials) -> Caller:
        """The caller with these credentials.

        Raises:
            Unauthenticated: there are none, or they are not valid.
            NotFound: it may not enter the workspace that it asks for, or there is none.
            Retryable: nobody can tell now.
        """

    def watching(self, caller: Caller, end: Callable[[CoreError], None]) -> AbstractContextManager[None]:
        """For calls that last: `end` is called if the caller's credentials stop being valid during the block."""
