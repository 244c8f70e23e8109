"""Which requests a browser may be tricked into, and that they are refused."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from runstream_service.http.guard import Guard

ALLOWED = ("runs.example.org", "*.example.net")


async def _fine(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("fine")(scope, receive, send)


async def ask(path: str = "/", *, method: str = "GET", **headers: str) -> tuple[int, str, Headers]:
    """Status, text and headers of the answer."""
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await Guard(_fine, ALLOWED)({"type": "http", "method": method, "path": path, "headers": raw}, receive, send)
    start, *bodies = sent
    return start["status"], b"".join(body["body"] for body in bodies).decode(), Headers(raw=start["headers"])


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:5000", "[::1]:5000", "10.1.2.3", "localhost:5000", "mybox", "mybox.local", "runstream.team.svc:80",
        "runstream.team.svc.cluster.local", "runs.example.org", "RUNS.example.org:443", "a.example.net",
    ],
)  # fmt: skip
async def test_names_that_only_we_can_have_are_served(host: str) -> None:
    assert (await ask(host=host))[0] == 200


@pytest.mark.parametrize("host", ["evil.com", "evil.com:5000", "runs.example.org.evil.com", "127.0.0.1.nip.io", "[x"])
async def test_names_of_strangers_are_refused_with_the_setting_to_change(host: str) -> None:
    status, text, _ = await ask(host=host)
    assert (status, "--allowed-hosts" in text) == (403, True)


async def test_probes_and_prometheus_may_use_any_name() -> None:
    assert (await ask("/metrics", host="whatever.com"))[0] == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 200), ("http://runs.example.org", 200), ("http://localhost:3000", 200), ("https://b.example.net", 200),
        ("https://evil.com", 403), ("null", 403), ("http://10.0.0.9", 403),
    ],
)  # fmt: skip
async def test_a_page_of_strangers_changes_nothing(origin: str | None, status: int) -> None:
    headers = {"host": "runs.example.org", **({"origin": origin} if origin else {})}
    assert (await ask(method="POST", **headers))[0] == status
    assert (await ask(method="GET", **headers))[0] == 200


async def test_answers_are_not_sniffed_and_not_framed() -> None:
    _, _, headers = await ask(host="localhost")
    assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "SAMEORIGIN")
