"""Prefixes of paths, and headers of proxies."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message

from runstream_service.http.forwarded import Forwarded
from runstream_service.http.origin_check import HostAndOriginCheck
from runstream_service.http.paths import PathPrefix


async def shown(request: Request) -> PlainTextResponse:
    client = request.client.host if request.client else ""
    return PlainTextResponse(f"{request.base_url} {client}")


SHOWING = Starlette(routes=[Route("/", shown), Route("/about", shown, methods=["GET", "POST"])])


async def ask(
    app: ASGIApp, path: str, *, client: str = "10.0.0.7", method: str = "GET", query: str = "", **headers: str
) -> tuple[int, str, dict[bytes, bytes]]:
    """Status, text and headers."""
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)

    named = {"host": "runstream:5000", **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "scheme": "http",
        "client": (client, 1),
        "server": ("127.0.0.1", 5000),
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
    }
    await app(scope, receive, send)
    start, *bodies = sent
    return start["status"], b"".join(body.get("body", b"") for body in bodies).decode(), dict(start["headers"])


@pytest.mark.parametrize("path", ["/ml/runs/about", "/about"], ids=["passed on", "taken off"])
async def test_a_path_is_served_with_its_prefix_and_without(path: str) -> None:
    status, text, _ = await ask(PathPrefix(SHOWING, "/ml/runs"), path)
    assert (status, text) == (200, "http://runstream:5000/ml/runs/ 10.0.0.7")


async def test_the_prefix_alone_leads_to_the_page_below_it() -> None:
    app = PathPrefix(SHOWING, "/ml")
    status, _, headers = await ask(app, "/ml", query="a=1")
    assert (status, headers[b"location"]) == (308, b"/ml/?a=1")
    assert (await ask(app, "/ml/"))[0] == 200


async def test_a_slash_too_many_is_redirected_below_the_prefix() -> None:
    status, _, headers = await ask(PathPrefix(SHOWING, "/ml"), "/ml/about/")
    assert (status, headers[b"location"]) == (307, b"http://runstream:5000/ml/about")


async def test_without_a_prefix_paths_stay_as_they_are() -> None:
    assert (await ask(PathPrefix(SHOWING, ""), "/about"))[:2] == (200, "http://runstream:5000/ 10.0.0.7")
    assert (await ask(PathPrefix(SHOWING, ""), "/ml/about"))[0] == 404


async def test_probes_below_a_prefix_may_use_any_name() -> None:
    app = PathPrefix(HostAndOriginCheck(SHOWING, []), "/ml")
    assert (await ask(app, "/ml/healthz", host="whatever.com"))[0] == 404
    assert (await ask(app, "/ml/about", host="whatever.com"))[0] == 403


FORWARDED = {"x_forwarded_proto": "https", "x_forwarded_host": "m.example.org", "x_forwarded_for": "198.51.100.9"}


@pytest.mark.parametrize("client", ["10.0.0.7", "::ffff:10.0.0.7", "fd00::7"])
async def test_a_trusted_proxy_says_who_asked_and_under_which_name(client: str) -> None:
    app = Forwarded(SHOWING, ["10.0.0.0/24", "fd00::/64"])
    assert (await ask(app, "/about", client=client, **FORWARDED))[1] == "https://m.example.org/ 198.51.100.9"


@pytest.mark.parametrize("trusted", [[], ["10.0.1.0/24"]])
async def test_nobody_else_does(trusted: list[str]) -> None:
    assert (await ask(Forwarded(SHOWING, trusted), "/about", **FORWARDED))[1] == "http://runstream:5000/ 10.0.0.7"


async def test_a_page_behind_a_proxy_with_a_host_of_its_own_is_refused_with_what_to_set_and_then_served() -> None:
    page = {"origin": "https://m.example.org", "x_forwarded_host": "m.example.org", "method": "POST"}
    status, text, _ = await ask(Forwarded(HostAndOriginCheck(SHOWING, ["m.example.org"]), []), "/about", **page)
    assert status == 200
    status, text, _ = await ask(Forwarded(HostAndOriginCheck(SHOWING, []), []), "/about", **page)
    assert status == 403
    for said in ("'https://m.example.org'", "'runstream:5000'", "--allowed-hosts", "--trusted-proxies", "Host"):
        assert said in text
    trusting = Forwarded(HostAndOriginCheck(SHOWING, ["m.example.org"]), ["10.0.0.7"])
    assert (await ask(trusting, "/about", **page))[0] == 200
