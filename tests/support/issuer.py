"""An issuer of JWTs on loopback: an OpenID Connect provider that people sign in at, and the issuer of a cluster.

It is strict where a real one is: the redirect URI has to be known, a code works once, for the client that got it, with
the verifier of its challenge.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import secrets
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

CLIENT_ID, CLIENT_SECRET = "runstream-of-tests", "secret of the tests: %/+"
_PAGE = """<!doctype html><title>Provider</title><h1>The provider of tests</h1>
<form method="post" action="/authorize?{query}">
<label>Account <input name="account"></label><button>Continue</button></form>"""


class LocalIssuer:
    """A context manager. `accounts` are the claims of people, by their names."""

    def __init__(self, accounts: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.accounts = dict(accounts or {})
        self.redirect_uris: set[str] = set()
        self.authorizations: list[str | None] = []  # of all requests
        self.is_away = False
        self.groups_are_in_userinfo = False
        self._keys: dict[str, RSAKey | ECKey] = {}
        self._codes: dict[str, dict[str, str]] = {}
        self._access: dict[str, str] = {}
        self.rotate()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> LocalIssuer:
        self._thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def rotate(self, *, kind: str = "RSA") -> str:
        """From now on, another key signs; the old one is gone. Returns its id."""
        key_id = secrets.token_hex(4)
        key = (
            RSAKey.generate_key(2048, {"kid": key_id})
            if kind == "RSA"
            else ECKey.generate_key("P-256", {"kid": key_id})
        )
        self._keys = {key_id: key}
        return key_id

    @property
    def public_keys(self) -> dict[str, Any]:
        """The document with its keys."""
        keys = [{**key.as_dict(private=False), "use": "sig"} for key in self._keys.values()]
        return {"keys": keys}

    def token(self, *, key_id: str | None = None, algorithm: str | None = None, **claims: Any) -> str:
        """A token with these claims; None leaves one out."""
        (own_id, key), *_ = self._keys.items()
        now = int(time.time())
        said = {"iss": self.url, "iat": now, "nbf": now, "exp": now + 600, **claims}
        algorithm = algorithm or ("RS256" if isinstance(key, RSAKey) else "ES256")
        header = {"alg": algorithm, "kid": key_id or own_id}
        return jwt.encode(header, {name: value for name, value in said.items() if value is not None}, key)

    def pod_token(self, namespace: str, account: str = "default", *, audience: str = "runstream", **claims: Any) -> str:
        """A token as Kubernetes projects it into a pod."""
        about = {"namespace": namespace, "serviceaccount": {"name": account, "uid": "1"}}
        said = {"aud": [audience], "sub": f"system:serviceaccount:{namespace}:{account}", "kubernetes.io": about}
        return self.token(**{**said, **claims})

    # -- the endpoints -----------------------------------------------------------------------------------------------

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer._answer(self, {})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
                issuer._answer(self, {name: values[0] for name, values in parse_qs(body).items()})

            def log_message(self, *_arguments: object) -> None:
                """Writes no log."""

        return Handler

    def _answer(self, handler: BaseHTTPRequestHandler, form: Mapping[str, str]) -> None:
        parts = urlsplit(handler.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.authorizations.append(handler.headers["authorization"])
        if self.is_away:
            return _send(handler, 503, b"away")
        if parts.path == "/.well-known/openid-configuration":
            return _send_json(handler, self._metadata())
        if parts.path in ("/keys", "/openid/v1/jwks"):
            return _send_json(handler, self.public_keys)
        if parts.path == "/authorize":
            return self._authorize(handler, query, form)
        if parts.path == "/token":
            return self._exchange(handler, form)
        if parts.path == "/userinfo":
            account = self._access[handler.headers["authorization"].removeprefix("Bearer ")]
            return _send_json(handler, {"sub": account, **self.accounts[account]})
        if parts.path == "/sign-out":
            return _send(handler, 200, f"<h1>Signed out of the provider</h1>{html.escape(parts.query)}".encode())
        return _send(handler, 404, b"")

    def _metadata(self) -> dict[str, Any]:
        places = {"authorization": "authorize", "token": "token", "userinfo": "userinfo", "end_session": "sign-out"}
        endpoints = {f"{name}_endpoint": f"{self.url}/{path}" for name, path in places.items()}
        return {"issuer": self.url, "jwks_uri": f"{self.url}/keys", **endpoints}

    def _authorize(self, handler: BaseHTTPRequestHandler, query: Mapping[str, str], form: Mapping[str, str]) -> None:
        assert query["client_id"] == CLIENT_ID
        assert query["redirect_uri"] in self.redirect_uris
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        if "account" not in form:
            return _send(handler, 200, _PAGE.format(query=html.escape(urlencode(query))).encode())
        answer = {"state": query["state"], "iss": self.url}
        if form["account"] in self.accounts:
            code = secrets.token_urlsafe(16)
            self._codes[code] = {**query, "account": form["account"]}
            answer["code"] = code
        else:
            answer |= {"error": "access_denied", "error_description": "there is no such account"}
        handler.send_response(303)
        handler.send_header("location", f"{query['redirect_uri']}?{urlencode(answer)}")
        handler.end_headers()
        return None

    def _exchange(self, handler: BaseHTTPRequestHandler, form: Mapping[str, str]) -> None:
        asked = self._codes.pop(form["code"], None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        secret = base64.b64decode(handler.headers["authorization"].removeprefix("Basic ")).decode()
        if (
            asked is None
            or challenge.decode() != asked["code_challenge"]
            or form["redirect_uri"] != asked["redirect_uri"]
            or secret not in (f"{CLIENT_ID}:{CLIENT_SECRET}", urlencode({CLIENT_ID: CLIENT_SECRET}).replace("=", ":"))
        ):
            return _send(handler, 400, b'{"error": "invalid_grant"}', "application/json")
        account = asked["account"]
        claims = dict(self.accounts[account])
        if self.groups_are_in_userinfo:
            claims.pop("groups", None)
        access = secrets.token_urlsafe(16)
        self._access[access] = account
        id_token = self.token(aud=CLIENT_ID, sub=account, nonce=asked["nonce"], **claims)
        return _send_json(
            handler, {"access_token": access, "token_type": "Bearer", "expires_in": 300, "id_token": id_token}
        )


def _send_json(handler: BaseHTTPRequestHandler, body: Mapping[str, Any]) -> None:
    _send(handler, 200, json.dumps(body).encode(), "application/json")


def _send(handler: BaseHTTPRequestHandler, status: int, body: bytes, kind: str = "text/html") -> None:
    handler.send_response(status)
    handler.send_header("content-type", kind)
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
