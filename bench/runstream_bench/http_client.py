"""HTTP for benchmarks and tests: a request goes out as it is given, and its answer comes back whatever the status is.

It is a thin layer over the standard library. httpx2, which the server depends on, resolves `..` in a path before it
sends it, which some tests must not have, and needs three times the processor time for a request (0.9 ms instead of
0.3 ms). Where even that would be part of a figure, benchmarks use raw_http.py.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPMessage
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

_SAFE = "/?&=%+:@,;~!$'()*"  # in a path with a query; everything else is percent-encoded


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one request. The names of its headers are found in any case."""

    status: int
    content: bytes
    headers: HTTPMessage = field(repr=False)

    @property
    def text(self) -> str:
        """The content, which is UTF-8."""
        return self.content.decode()

    @property
    def body(self) -> Any:
        """The JSON in it."""
        return json.loads(self.content)

    @property
    def error(self) -> tuple[int, str, str]:
        """Status, code and message, in MLflow's form or in that of the page's API."""
        body = self.body
        if "error" in body:
            return self.status, body["error"]["code"], body["error"]["message"]
        return self.status, body["error_code"], body["message"]

    @property
    def cookie(self) -> str:
        """The cookie of the answer, as a browser would send it back."""
        return str(self.headers.get("set-cookie", "")).partition(";")[0]


class HttpClient:
    """A caller of one server, over one connection that is kept. It follows no redirects.

    with HttpClient("http://127.0.0.1:5000") as client:
        client.get("/readyz").status

    A path that begins with / is taken from the root, another one from `prefix`. A token may also be in the URL, as in a
    tracking URI. `context` is for https. What cannot be sent or is not answered within `timeout_s` raises OSError or
    http.client.HTTPException.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "/",
        token: str = "",
        timeout_s: float = 30,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.url = url
        parts = urlsplit(url)
        self._token = token or parts.password
        self._prefix = prefix
        address = parts.netloc.rpartition("@")[2]
        self._connection: http.client.HTTPConnection
        if parts.scheme == "https":
            self._connection = http.client.HTTPSConnection(address, timeout=timeout_s, context=context)
        else:
            self._connection = http.client.HTTPConnection(address, timeout=timeout_s)

    def get(self, path: str, query: Mapping[str, Any] | Sequence[tuple[str, Any]] = ()) -> Answer:
        """GET with a query. A list in it is the key repeated."""
        text = urlencode(query, doseq=True)
        return self.request("GET", f"{path}?{text}" if text else path)

    def post(self, path: str, body: Any = None) -> Answer:
        """POST of JSON."""
        return self.send("POST", path, body)

    def send(self, method: str, path: str, body: Any = None) -> Answer:
        """Any method, with JSON. Bytes are sent as they are, with the content type of JSON."""
        content = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
        return self.request(method, path, content, {"Content-Type": "application/json"})

    def request(
        self, method: str, path: str, content: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Any request. Of a stream of events, the answer has status and headers alone."""
        where = quote(path if path.startswith("/") else self._prefix + path, safe=_SAFE)
        known = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        try:
            response = self._response(method, where, content, {**known, **(headers or {})})
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            # The server closed it while it was idle.
            self._connection.close()
            response = self._response(method, where, content, {**known, **(headers or {})})
        if response.headers.get_content_type() == "text/event-stream":
            self._connection.close()  # it would go on
            return Answer(response.status, b"", response.headers)
        return Answer(response.status, response.read(), response.headers)

    def _response(
        self, method: str, where: str, content: bytes | None, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        self._connection.request(method, where, content, headers)
        return self._connection.getresponse()

    def close(self) -> None:
        """Gives the connection back."""
        self._connection.close()

    def __enter__(self) -> HttpClient:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()


def get(url: str, *, timeout_s: float = 30, context: ssl.SSLContext | None = None) -> Answer:
    """GET of a whole URL, over a connection of its own."""
    parts = urlsplit(url)
    with HttpClient(url, timeout_s=timeout_s, context=context) as client:
        return client.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
