"""MLflow's REST API by hand: what a client library would not send, and answers as they are."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of one call."""

    status: int
    content: bytes
    headers: Mapping[str, str] = field(repr=False)

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


class Rest:
    """A caller of one server, over one connection that is kept. A token may also be in the URL, as in a tracking URI.

    rest.post("runs/create", {"experiment_id": "0"}).body["run"]
    """

    def __init__(self, url: str, *, prefix: str = "/api/2.0/mlflow/", token: str = "") -> None:
        self.url = url
        parts = urlsplit(url)
        self._token = token or parts.password
        self._prefix = prefix
        self._address = parts.netloc.rpartition("@")[2]
        self._connection = http.client.HTTPConnection(self._address, timeout=30)

    def get(self, path: str, query: Mapping[str, Any] | Sequence[tuple[str, Any]] = ()) -> Answer:
        """GET with a query. A list in it is the key repeated."""
        text = urlencode(query, doseq=True)
        return self.request("GET", f"{path}?{text}" if text else path)

    def post(self, path: str, body: Any = None) -> Answer:
        """POST of JSON."""
        return self.send("POST", path, body)

    def send(self, method: str, path: str, body: Any = None) -> Answer:
        """Any method, with JSON; bytes go as they are, but are called JSON."""
        content = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
        return self.request(method, path, content, {"Content-Type": "application/json"})

    def request(
        self, method: str, path: str, content: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Any request. A path that begins with / is taken from the root, another one from the prefix."""
        where = path if path.startswith("/") else self._prefix + path
        where = quote(where, safe="/?&=%+:@,;~!$'()*")
        known = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        try:
            self._connection.request(method, where, content, {**known, **(headers or {})})
            response = self._connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            # The server closed it while it was idle.
            self._connection.close()
            self._connection.request(method, where, content, {**known, **(headers or {})})
            response = self._connection.getresponse()
        content = b""
        if response.headers.get_content_type() == "text/event-stream":
            self._connection.close()  # it would go on
        else:
            content = response.read()
        return Answer(response.status, content, dict(response.getheaders()))

    def close(self) -> None:
        """Gives the connection back."""
        self._connection.close()
