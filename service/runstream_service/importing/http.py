"""JSON over HTTP, to the service and to the servers that are sources. Calls are repeated after failures that may be
temporary."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar

import httpx2
import orjson

from runstream import errors
from runstream._backoff import Backoff

T = TypeVar("T")

PATIENCE_S = 300.0  # how long a call is repeated while the other side is not reachable
_SILENT_S = 120.0  # how long to wait for the next byte of a response
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 10.0
_MESSAGE_CHARACTERS = 500
_KINDS: Mapping[int, type[errors.RunstreamError]] = {
    401: errors.Unauthenticated,
    403: errors.PermissionDenied,
    404: errors.NotFound,
    409: errors.AlreadyExists,
    429: errors.Overloaded,
}


def with_retries(action: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
    """Calls `action` until it returns, and returns its result. Repeats it for up to `patience_s` seconds while it
    raises a RunstreamError that says that a retry can help; raises the last error."""
    backoff, give_up_s = Backoff(_FIRST_WAIT_S, _LONGEST_WAIT_S), time.monotonic() + patience_s
    while True:
        try:
            return action()
        except errors.RunstreamError as error:
            if not error.retryable or error.reason == "FENCED" or time.monotonic() > give_up_s:
                raise
            time.sleep(backoff.next_s(error.retry_after_s))


class Http:
    """Requests below one address. Safe to share between threads. Methods raise RunstreamError."""

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        *,
        auth: tuple[str, str] | None = None,
        verify: ssl.SSLContext | bool = True,
        connections: int = 32,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._has_answered = False
        limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
        self._client = httpx2.Client(
            headers=dict(headers),
            auth=auth,
            verify=verify,
            timeout=httpx2.Timeout(_SILENT_S, connect=20.0),
            limits=limits,
            follow_redirects=True,
        )

    def get(self, path: str, /, **query: Any) -> Any:
        """The decoded response to a GET."""
        return self._with_retries(lambda: self._json("GET", path, params=_query(query)))

    def post(self, path: str, body: Mapping[str, Any], method: str = "POST") -> Any:
        """The decoded response to a POST or another method. The call must be idempotent, since it may be repeated."""
        headers = {"content-type": "application/json"}
        return self._with_retries(lambda: self._json(method, path, content=orjson.dumps(body), headers=headers))

    def put(self, path: str, chunks: Callable[[], Iterator[bytes]], size: int) -> None:
        """Uploads a body of `size` bytes; `chunks` returns its pieces from the beginning, for each attempt."""
        headers = {"content-length": str(size)}
        self._with_retries(lambda: self._json("PUT", path, content=chunks(), headers=headers))

    @contextmanager
    def download(self, path: str, /, **query: Any) -> Iterator[Iterator[bytes]]:
        """The body of the response to a GET, in pieces. Not repeated after failures."""
        with self._failures(path), self._client.stream("GET", self.base_url + path, params=_query(query)) as response:
            if response.status_code >= 400:
                response.read()
            _check(response, path)
            yield response.iter_bytes(1 << 20)

    def _with_retries(self, action: Callable[[], T]) -> T:
        """Nothing is repeated before the first response, so that a wrong address is reported at once."""
        if self._has_answered:
            return with_retries(action)
        answer = action()
        self._has_answered = True
        return answer

    def close(self) -> None:
        """Closes connections."""
        self._client.close()

    def __enter__(self) -> Http:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _json(self, method: str, path: str, **arguments: Any) -> Any:
        with self._failures(path):
            response = self._client.request(method, self.base_url + path, **arguments)
        _check(response, path)
        return decoded(response.content) if response.content else {}

    @contextmanager
    def _failures(self, path: str) -> Iterator[None]:
        try:
            yield
        except httpx2.TransportError as error:
            what = str(error) or type(error).__name__
            raise errors.Unavailable(f"{self.base_url}{path}: {what}") from error


def decoded(content: bytes) -> Any:
    """Decodes JSON, including the literals NaN and Infinity, which some routes of MLflow's server send. Raises
    ServiceError."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        try:
            return json.loads(content)
        except ValueError as error:
            raise errors.ServiceError(f"the response is not JSON: {content[:200]!r}") from error


def _query(query: Mapping[str, Any]) -> list[tuple[str, str | int | float | bool | None]]:
    pairs: list[tuple[str, str | int | float | bool | None]] = []
    for name, value in query.items():
        values = value if isinstance(value, list | tuple) else [] if value is None else [value]
        pairs += [(name, str(one)) for one in values]
    return pairs


def _check(response: httpx2.Response, path: str) -> None:
    status = response.status_code
    if status < 400:
        return
    message, code = response.text[:_MESSAGE_CHARACTERS], ""
    try:
        answer = orjson.loads(response.content)
        described = answer.get("error", answer)  # the form of the web API, or that of MLflow
        message = str(described.get("message", message))
        code = str(described.get("code") or answer.get("error_code") or "")
    except (orjson.JSONDecodeError, AttributeError):
        pass
    kind = _KINDS.get(status) or (errors.Unavailable if status >= 500 else errors.InvalidArgument)
    if code == "RESOURCE_ALREADY_EXISTS":
        kind = errors.AlreadyExists
    wait = response.headers.get("retry-after", "")
    raise kind(
        f"{message[:_MESSAGE_CHARACTERS]} [HTTP {status} from {path}]",
        code=str(status),
        reason=code,
        retry_after_s=float(wait) if wait.replace(".", "", 1).isdigit() else None,
    )
