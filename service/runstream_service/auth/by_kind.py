"""All ways in which callers say who they are."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from runstream_service.auth.session_authenticator import SessionAuthenticator
from runstream_service.auth.token_authenticator import TokenAuthenticator

if TYPE_CHECKING:
    from runstream_service.auth.authenticator import Credentials
    from runstream_service.core.caller import Caller
    from runstream_service.core.errors import CoreError
    from runstream_service.storage.database import Database


class ByKind:
    """Implements Authenticator: chooses one by what the credentials look like. What was given in a header wins over the
    session of a browser."""

    def __init__(self) -> None:
        self._tokens = TokenAuthenticator()
        self._sessions = SessionAuthenticator()

    def use(self, database: Database) -> None:
        """From now on, credentials are looked up here."""
        self._tokens.use(database)
        self._sessions.use(database)

    async def authenticate(self, credentials: Credentials) -> Caller:
        """As in Authenticator."""
        if credentials.session and not credentials.token:
            return await self._sessions.authenticate(credentials)
        return await self._tokens.authenticate(credentials)

    def watching(self, caller: Caller, end: Callable[[CoreError], None]) -> AbstractContextManager[None]:
        """As in Authenticator."""
        return self._tokens.watching(caller, end)

    async def run(self) -> None:
        """Ends calls whose credentials have ended, until it is cancelled."""
        await self._tokens.run()
