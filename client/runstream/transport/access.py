"""With what the calls to one endpoint are made, and how they wait while the service refuses them.

A refusal of the caller (no token, an expired one, no rights, no such workspace) is waited out: the points stay in the
journal, and the calls are made again after a while, or at once when another token is there.
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
_EXPLAIN_AGAIN_S = 60.0
_KEPT = 16  # refused tokens that are remembered, so that none of them counts as another one


class Access:
    """The access to one endpoint. Guarded by the transport's lock, but for what says otherwise."""

    def __init__(self, endpoint: Endpoint, alternatives: Callable[[], Iterable[Credentials]] = tuple) -> None:
        """`alternatives`: what may be used instead when the service refuses the token."""
        self.endpoint = endpoint
        self._alternatives = alternatives
        self._credentials = endpoint.credentials  # those in use
        self._refused: deque[Token] = deque(maxlen=_KEPT)
        self._is_refused = False
        self._pause = Pause()
        self._backoff = Backoff(_FIRST_S, _LONGEST_S)
        self._explained: tuple[float, str] = (float("-inf"), "")  # when, by the monotonic clock, and what

    # Without the lock.

    def token(self) -> Token:
        """The token as it is now. Reads its file."""
        return self._credentials.read(self.endpoint.address)

    def metadata(self, token: Token) -> Metadata:
        """The metadata that a call sends."""
        return self._credentials.metadata_with(token)

    def explained(self, failure: _status.Failure) -> _status.Failure:
        """The same with what a person can do, or with what is wrong with the connection. That is looked at once a
        minute at most, and takes seconds."""
        if failure.retry is _status.Retry.WHEN_ALLOWED:
            what_to_do = _status.advice(failure, self.endpoint)
            return replace(failure, message=f"{failure.message}. {what_to_do}")
        if failure.code != "UNAVAILABLE" or failure.reason:
            return failure
        when_s, before = self._explained
        if time.monotonic() - when_s < _EXPLAIN_AGAIN_S:
            return _status.Failure(failure.code, before, _status.TLS_FAILED) if before else failure
        self._explained = (time.monotonic(), before)  # the other threads do not look as well
        found = _status.explained(failure, self.endpoint)
        self._explained = (time.monotonic(), found.message if found is not failure else "")
        return found

    def reload(self) -> bool:
        """Whether there is a token that was not refused; it is used from now on. To be called now and then while
        `is_refused`."""
        for credentials in (self.endpoint.credentials, *self._alternatives()):
            token = credentials.read(self.endpoint.address)
            if token.secret and token not in self._refused:
                self._credentials = credentials
                return True
        return False

    # With the lock.

    @property
    def is_refused(self) -> bool:
        """Whether the service has refused the caller, and has accepted nothing since."""
        return self._is_refused

    def accepted(self) -> None:
        """The service has answered a call."""
        if self._is_refused:
            self._is_refused = False
            self._pause = Pause()
            self._backoff.reset()
            self._refused.clear()
        self._explained = (float("-inf"), "")

    def refused(self, token: Token, failure: _status.Failure) -> float:
        """The service has refused the caller with this token; returns how long to wait."""
        now_s = time.monotonic()
        self._is_refused = True
        if token not in self._refused:
            self._refused.append(token)
        if not self._pause.is_over(now_s):
            return self._pause.until_s - now_s  # another thread got the same answer
        self._credentials = self.endpoint.credentials
        wait_s = self._backoff.next_s(failure.retry_after_s)
        self._pause.begin(now_s, wait_s, failure.retry_after_s)
        return wait_s

    def may_call(self, now_s: float) -> bool:
        """Whether calls are made now."""
        return self._pause.is_over(now_s)

    def retry_now(self) -> None:
        """Somebody waits, or there is another token: calls are made at once."""
        self._pause.retry_now()
