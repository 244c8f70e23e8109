"""Signing in with the browser: the person allows it on a page of the service, which sends a code to this process.

As OAuth for native applications has it (RFC 8252, RFC 7636): the browser is sent back to a port of this machine, and
the code is worth nothing without the verifier, whose hash the page was opened with and which never leaves this process.
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
_PATIENCE_S = 300.0  # a person may have to find a password first
_CALL_S = 30.0
_DONE = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>runstream</title>
<body style="font: 1rem/1.6 system-ui; max-width: 44rem; margin: 4rem auto">
<h1>Done</h1><p>You are logged in on the command line. You can close this window.</p>"""
_STRANGE = b"This is not the answer that was waited for."


class SignedIn(NamedTuple):
    """What the service gave."""

    token: Secret
    workspace: str


def sign_in_with_browser(http_url: str, *, ca: str = "") -> SignedIn:
    """Opens a page of the service and waits until somebody has allowed it there.

    Raises:
        ValueError: nobody did, or the service does not know such a page. OSError: no connection.
    """
    verifier, state = secrets.token_urlsafe(32), secrets.token_urlsafe(16)
    with _Answer(state) as answer:
        question = {
            "port": answer.port,
            "state": state,
            "challenge": challenge_of(verifier),
            "machine": socket.gethostname()[:100],
        }
        page = f"{http_url}{PAGE}?{urlencode(question)}"
        sys.stderr.write(
            f"Waiting for you to allow it in the browser. If none opens, open this page here:\n\n  {page}\n\n"
        )
        webbrowser.open(page)
        code = answer.wait(_PATIENCE_S)
    return _exchange(http_url, code, verifier, ca)


def challenge_of(verifier: str) -> str:
    """S256 of RFC 7636."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


class _Answer:
    """A port of this machine that the browser is sent to; nobody else reaches it."""

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
        """The code. Raises ValueError."""
        if not self._came.wait(within_s):
            raise ValueError(f"nobody allowed it in the browser within {within_s / 60:.0f} minutes")
        if not self._code:
            raise ValueError("it was not allowed in the browser")
        return self._code

    def _take(self, query: str) -> bool:
        """Whether this is the answer. Other pages could send requests here as well; they do not know the state."""
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
                self.wfile.write(_DONE if is_ours else _STRANGE)

            def log_message(self, format: str, *args: object) -> None:
                """The code is in the path: nothing is logged."""

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
            raise ValueError(f"the service gave no token: {error.code} {_message(error.read())}") from error
    return SignedIn(Secret(check_token(login["token"], "what the service gave")), str(login["workspace"]))


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode("latin-1")
