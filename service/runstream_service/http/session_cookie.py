"""Cookies of people who sign in.

The cookie of a session holds the session's secret text and the workspace that was chosen last. The session in the
database says which workspaces its owner may enter; the choice among them belongs to the browser. Another cookie is kept
for the minutes that somebody spends at an OpenID Connect provider.
"""

from __future__ import annotations

import base64
import re

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import Response
from starlette.types import Scope

_FORM = re.compile(r"([A-Za-z0-9_-]{20,100})\.([a-z0-9-]{1,63})")

_SESSION, _PENDING = "runstream_session", "runstream_signin"
# How long somebody may take to sign in at the provider.
_PENDING_S = 900


def read_session(scope: Scope) -> tuple[str, str]:
    """The session's text and the chosen workspace of a request; empty if it has none."""
    match = _FORM.fullmatch(_read(scope, _SESSION))
    return (match[1], match[2]) if match else ("", "")


def set_session(response: Response, scope: Scope, session: str, workspace: str, *, max_age_s: float) -> None:
    """Makes the browser keep a session for `max_age_s` seconds."""
    _set(response, scope, _SESSION, f"{session}.{workspace}", max_age_s=int(max_age_s))


def clear_session(response: Response, scope: Scope) -> None:
    """Makes the browser forget its session."""
    _set(response, scope, _SESSION, "", max_age_s=0)


def read_pending_sign_in(scope: Scope) -> bytes:
    """The pending sign-in at the provider, as `set_pending_sign_in` got it; empty if there is none."""
    try:
        return base64.urlsafe_b64decode(_read(scope, _PENDING))
    except ValueError:
        return b""


def set_pending_sign_in(response: Response, scope: Scope, pending: bytes) -> None:
    """Makes the browser keep the pending sign-in; if `pending` is empty, makes it forget that."""
    _set(response, scope, _PENDING, base64.urlsafe_b64encode(pending).decode(), max_age_s=_PENDING_S if pending else 0)


def _read(scope: Scope, name: str) -> str:
    return cookie_parser(Headers(scope=scope).get("cookie", "")).get(_name(scope, name), "")


def _set(response: Response, scope: Scope, name: str, value: str, *, max_age_s: int) -> None:
    response.set_cookie(
        _name(scope, name),
        value,
        max_age=max_age_s,
        path=scope.get("root_path") or "/",
        secure=scope.get("scheme", "http") == "https",
        httponly=True,  # no script of a page reads it
        samesite="lax",  # requests from other sites do not carry it, except when somebody follows a link
    )


def _name(scope: Scope, name: str) -> str:
    """The cookie's name, with a prefix that browsers enforce. `__Host-`: only this host can set it, for all of its
    paths. Below a path prefix, others share the host and should not get the cookie, so it is `__Secure-`."""
    if scope.get("scheme", "http") != "https":
        return name
    return f"__Secure-{name}" if scope.get("root_path") else f"__Host-{name}"
