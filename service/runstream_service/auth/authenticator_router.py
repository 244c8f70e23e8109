"""Chooses the authenticator for the credentials of a call: token, session or JWT."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from runstream_service.auth.session_authenticator import SessionAuthenticator
from runstream_service.auth.token_authenticator import TokenAuthenticator
from runstream_service.core.workspace_names import to_look_up
from runstream_service.errors.core import Unauthenticated

if TYPE_CHECKING:
    from runstream_service.auth.authenticator import Credentials
    from runstream_service.auth.jwt_authenticator import JwtAuthenticator
    from runstream_service.core.caller import Caller
    from runstream_service.database.pool import Database
    from runstream_service.errors.core import CoreError


class AuthenticatorRouter:
    """Implements Authenticator by handing each call on to the authenticator for its kind of credentials.

    A token in a header wins over the session of a browser. Without `jwts`, the service accepts no JWTs.
    """

    def __init__(self, jwts: JwtAuthenticator | None = None) -> None:
        self._tokens = TokenAuthenticator()
        self._sessions = SessionAuthenticator()
        self._jwts = jwts

    def use(self, database: Database) -> None:
        """Looks credentials up in this database from now on. Until then, calls fail with NotConnected."""
        for one in (self._tokens, self._sessions, self._jwts):
            if one is not None:
                one.use(database)

    async def authenticate(self, credentials: Credentials) -> Caller:
        """Who calls; see Authenticator.authenticate."""
        if credentials.workspace:
            # Results are remembered by this name, thousands of them, and a caller may send a long text.
            credentials = replace(credentials, workspace=to_look_up(credentials.workspace))
        if credentials.session and not credentials.token:
            return await self._sessions.authenticate(credentials)
        if self._jwts is not None and looks_like_jwt(credentials.token):
            return await self._jwts.authenticate(credentials)
        return await self._tokens.authenticate(credentials)

    @contextlib.contextmanager
    def watching(self, caller: Caller, end: Callable[[CoreError], None]) -> Iterator[None]:
        """Calls `end` when the credentials of a stream end; see Authenticator.watching."""
        with self._tokens.watching(caller, end), _until(caller.expires_at, end):
            yield

    async def run(self) -> None:
        """Ends the streams whose tokens have been revoked or have expired. Runs until cancelled."""
        await self._tokens.run()


def looks_like_jwt(text: str) -> bool:
    """Whether a token has the three parts of a signed JWT."""
    return text.count(".") == 2


@contextlib.contextmanager
def _until(expires_at: float | None, end: Callable[[CoreError], None]) -> Iterator[None]:
    if expires_at is None:
        yield
        return
    expired = Unauthenticated("the credentials of this stream have expired; reconnect with new ones")
    timer = asyncio.get_running_loop().call_later(max(0.0, expires_at - time.time()), end, expired)
    try:
        yield
    finally:
        timer.cancel()
