"""Which requests a browser may be tricked into, and that they are refused."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

import pytest
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from runstream_service.http.callers import Proof
from runstream_service.http.origin_check import HostAndOriginCheck
from runstream_service.http.safe_headers import SafeHeaders

ALLOWED = ("runs.example.org", "*.example.net")


async def _fine(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("fine")(scope, receive, send)


async def ask(
    path: str = "/",
    *,
    method: str = "GET",
    proof: Proof = Proof.NOTHING,
    host: str = "runs.example.org",
    headers: Mapping[str, str] | None = None,
) -> tuple[int, str, Headers]:
    """Sends a request; returns status, text and headers of the answer."""
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)

    raw = [(name.encode(), value.encode()) for name, value in {"host": host, **(headers or {})}.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": raw, "runstream.proof": proof}
    await SafeHeaders(HostAndOriginCheck(_fine, ALLOWED))(scope, receive, send)
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
    headers = {"origin": origin} if origin else {}
    assert (await ask(method="POST", headers=headers))[0] == status
    assert (await ask(method="GET", headers=headers))[0] == 200


async def test_answers_are_not_sniffed_and_not_framed() -> None:
    _, _, headers = await ask(host="localhost")
    assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "SAMEORIGIN")


EVIL = {"origin": "https://evil.com"}
SAME, NONE = {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (SAME, 200), (NONE, 200),
        ({"origin": "https://runs.example.org"}, 200), ({"origin": "https://b.example.net"}, 200),
        ({}, 403), ({"origin": "null"}, 403), ({"origin": "https://evil.com"}, 403),
        ({"origin": "http://localhost:3000"}, 403), ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site", "origin": "https://runs.example.org"}, 403),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("path", "proof"), [("/api/x", Proof.COOKIE), ("/signin", Proof.NOTHING)])
async def test_what_a_browser_attaches_is_taken_from_our_own_pages_alone(
    path: str, proof: Proof, sent: dict[str, str], status: int
) -> None:
    assert (await ask(path, method="POST", proof=proof, headers=sent))[0] == status
    assert (await ask(path, proof=proof, headers=sent))[0] == 200


async def test_the_port_of_a_page_counts() -> None:
    for origin, status in (("http://10.0.0.5:5000", 200), ("http://10.0.0.5:8888", 403), ("http://10.0.0.5:x", 403)):
        answer = await ask(method="POST", proof=Proof.COOKIE, host="10.0.0.5:5000", headers={"origin": origin})
        assert answer[0] == status


@pytest.mark.parametrize(("sent", "status"), [({}, 200), (SAME, 200), ({"sec-fetch-site": "same-site"}, 403)])
async def test_a_script_with_a_password_is_served_and_a_page_that_has_the_browser_send_it_is_not(
    sent: dict[str, str], status: int
) -> None:
    assert (await ask(method="POST", proof=Proof.BASIC, headers=sent))[0] == status


async def test_a_token_in_a_header_is_enough_whatever_name_the_service_was_called_by() -> None:
    for proof in (Proof.BEARER, Proof.BASIC):
        assert (await ask(method="POST", proof=proof, host="any.name.com"))[0] == 200
    assert (await ask(method="POST", proof=Proof.BEARER, host="any.name.com", headers=EVIL))[0] == 200
