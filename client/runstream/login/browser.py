"""Signing in with the browser: the user allows it on a page of the service, which sends a code to this process.

It follows OAuth for native applications (RFC 8252, RFC 7636): the page redirects the browser to a port of this machine.
The code is worthless without the verifier, which never leaves this process; the page was opened with a hash of it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import socket
import ssl
import sys
import threading
import urllib.error
import urllib.request
import webbrowser
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, urlencode, urlsplit

from runstream._credentials import Secret, check_token

PAGE = "/signin/command-line"
EXCHANGE = "/signin/command-line/token"
_USER_TIMEOUT_S = 300.0  # the user may have to find a password first
_CALL_S = 30.0
_DONE = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>runstream</title>
<body style="font: 1rem/1.6 system-ui; max-width: 44rem; margin: 4rem auto">
<h1>Done</h1><p>You are logged in on the command line. You can close this window.</p>"""
_UNEXPECTED = b"runstream login did not ask for this page. Start it again, and use the link that it prints."


class SignedIn(NamedTuple):
    """The token and the workspace that the service has issued."""

    token: Secret
    workspace: str


def sign_in_with_browser(http_url: str, *, ca: str = "") -> SignedIn:
    """Opens a page of the service and waits until the user has allowed the login there.

    Raises:
        ValueError: it was not allowed within five minutes, or the service has no such page. OSError: no connection.
    """
    verifier, state = secrets.token_urlsafe(32), secrets.token_urlsafe(16)
    with _Answer(state) as answer:
        query = {
            "port": answer.port,
            "state": state,
            "challenge": challenge_of(verifier),
            "machine": socket.gethostname()[:100],
        }
        page = f"{http_url}{PAGE}?{urlencode(query)}"
        sys.stderr.write(
            "Waiting for you to allow the login in the browser. If no browser opens, open this page on this machine:"
            f"\n\n  {page}\n\n"
        )
        webbrowser.open(page)
        code = answer.wait(_USER_TIMEOUT_S)
    return _exchange(http_url, code, verifier, ca)


def challenge_of(verifier: str) -> str:
    """The challenge for a verifier: S256 of RFC 7636."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


class _Answer:
    """An HTTP server on a local port, to which the page redirects the browser. Other machines cannot reach it."""

    def __init__(self, state: str) -> None:
        self._state = state
        self._code = ""
        self._came = threading.Event()
        self._server = HTTPServer(("127.0.0.1", 0), self._handler())
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="login", daemon=True)

    def __enter__(self) -> _Answer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait(self, within_s: float) -> str:
        """Waits for the code. Raises ValueError if it does not come in time, or the login was not allowed."""
        if not self._came.wait(within_s):
            raise ValueError(f"the login was not allowed in the browser within {within_s / 60:.0f} minutes; try again")
        if not self._code:
            raise ValueError("the login was not allowed in the browser")
        return self._code

    def _take(self, query: str) -> bool:
        """Accepts the code of a request; returns False if it is not from the service's page: other pages may send
        requests here as well, but do not know the state."""
        query_values = parse_qs(query)
        if not secrets.compare_digest(query_values.get("state", [""])[0], self._state):
            return False
        self._code = query_values.get("code", [""])[0]
        self._came.set()
        return True

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        take = self._take

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                is_ours = take(urlsplit(self.path).query)
                self.send_response(200 if is_ours else 400)
                self.send_header("content-type", "text/html; charset=utf-8" if is_ours else "text/plain")
                self.end_headers()
                self.wfile.write(_DONE if is_ours else _UNEXPECTED)

            def log_message(self, format: str, *args: object) -> None:
                """Logs nothing, as the path contains the code."""

        return Handler


def _exchange(http_url: str, code: str, verifier: str, ca: str) -> SignedIn:
    body = json.dumps({"code": code, "verifier": verifier}).encode()
    request = urllib.request.Request(  # noqa: S310 - addresses_of checked the scheme
        f"{http_url}{EXCHANGE}", data=body, headers={"Content-Type": "application/json"}, method="POST"
    )
    context = ssl.create_default_context(cafile=ca or None) if http_url.startswith("https:") else None
    try:
        with urllib.request.urlopen(request, timeout=_CALL_S, context=context) as answer:  # noqa: S310
            login = json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            raise ValueError(f"the service issued no token: {error.code} {_message(error.read())}") from error
    return SignedIn(Secret(check_token(login["token"], "what the service has issued")), str(login["workspace"]))


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode("latin-1")
