"""The credentials of calls to one endpoint, and the wait while the service refuses them.

When the service refuses the caller (no token, an expired one, no rights, no such workspace), the points stay in the
journal. The calls are made again after a while, or at once when there is another token.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace

from runstream import _status
from runstream._backoff import Backoff
from runstream._credentials import Credentials, Metadata, Token
from runstream._endpoint import Endpoint
from runstream.transport.pause import Pause

_FIRST_S, _LONGEST_S = 1.0, 60.0
_EXPLAIN_AGAIN_S = 60.0  # test a failed connection at most this often
_MAX_REFUSED_TOKENS = 16  # how many refused tokens are remembered, so that none of them counts as a new one


class Access:
    """The access to one endpoint. Guarded by the transport's lock, except for the methods that do not need it."""

    def __init__(self, endpoint: Endpoint, alternatives: Callable[[], Iterable[Credentials]] = tuple) -> None:
        """`alternatives` returns credentials that may be used instead when the service refuses the token."""
        self.endpoint = endpoint
        self._alternatives = alternatives
        self._credentials = endpoint.credentials  # the ones in use
        self._refused: deque[Token] = deque(maxlen=_MAX_REFUSED_TOKENS)
        self._is_refused = False
        self._pause = Pause()
        self._backoff = Backoff(_FIRST_S, _LONGEST_S)
        # When a failed connection was tested last, by the monotonic clock, and what was wrong.
        self._explained: tuple[float, str] = (float("-inf"), "")

    # Called without the lock.

    def token(self) -> Token:
        """The token to be used now. Reads its file."""
        return self._credentials.read(self.endpoint.address)

    def metadata(self, token: Token) -> Metadata:
        """The metadata of a call with this token."""
        return self._credentials.metadata_with(token)

    def explained(self, failure: _status.Failure) -> _status.Failure:
        """The failure with advice for the user, or with what is wrong with TLS. The connection is tested at most once a
        minute, which takes seconds."""
        if failure.retry is _status.Retry.WHEN_ALLOWED:
            what_to_do = _status.advice(failure, self.endpoint)
            return replace(failure, message=f"{failure.message}. {what_to_do}")
        if failure.code != "UNAVAILABLE" or failure.reason:
            return failure
        when_s, before = self._explained
        if time.monotonic() - when_s < _EXPLAIN_AGAIN_S:
            return _status.Failure(failure.code, before, _status.TLS_FAILED) if before else failure
        self._explained = (time.monotonic(), before)  # so that no other thread tests it as well
        found = _status.explained(failure, self.endpoint)
        self._explained = (time.monotonic(), found.message if found is not failure else "")
        return found

    def reload(self) -> bool:
        """Switches to a token that was not refused, if there is one; returns whether there is. To be called from time
        to time while `is_refused`."""
        for credentials in (self.endpoint.credentials, *self._alternatives()):
            token = credentials.read(self.endpoint.address)
            if token.secret and token not in self._refused:
                self._credentials = credentials
                return True
        return False

    # Called with the lock.

    @property
    def is_refused(self) -> bool:
        """Whether the service has refused the caller, and has accepted no call since."""
        return self._is_refused

    def accepted(self) -> None:
        """Notes that the service has accepted a call."""
        if self._is_refused:
            self._is_refused = False
            self._pause = Pause()
            self._backoff.reset()
            self._refused.clear()
        self._explained = (float("-inf"), "")

    def refused(self, token: Token, failure: _status.Failure) -> float:
        """Notes that the service has refused the caller with this token; returns how long to wait, in seconds."""
        now_s = time.monotonic()
        self._is_refused = True
        if token not in self._refused:
            self._refused.append(token)
        if not self._pause.is_over(now_s):
            return self._pause.until_s - now_s  # another thread got the same refusal
        self._credentials = self.endpoint.credentials
        wait_s = self._backoff.next_s(failure.retry_after_s)
        self._pause.begin(now_s, wait_s, failure.retry_after_s)
        return wait_s

    def may_call(self, now_s: float) -> bool:
        """Whether calls may be made at this time of the monotonic clock."""
        return self._pause.is_over(now_s)

    def retry_now(self) -> None:
        """Lets calls be made at once, as somebody waits or there is another token."""
        self._pause.retry_now()
