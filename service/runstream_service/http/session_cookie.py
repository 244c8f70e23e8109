"""Cookies of people who sign in.

That of a session holds its text, and the workspace that was chosen last: the session says which workspaces its owner
may enter; the choice among them is the browser's, so it needs no row. Another one is kept for the minutes that somebody
is at an OpenID Connect provider.
"""

from __future__ import annotations

import base64
import re

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import Response
from starlette.types import Scope

_FORM = re.compile(r"([A-Za-z0-9_-]{20,100})\.([a-z0-9-]{1,63})")


_SESSION, _BEGUN = "runstream_session", "runstream_signin"
# How long somebody may take to sign in at the provider.
_BEGUN_S = 900


def read_session(scope: Scope) -> tuple[str, str]:
    """The session's text and the chosen workspace of a request; empty if it has none."""
    match = _FORM.fullmatch(_read(scope, _SESSION))
    return (match[1], match[2]) if match else ("", "")


def set_session(response: Response, scope: Scope, session: str, workspace: str, *, max_age_s: float) -> None:
    """Lets the browser keep it."""
    _set(response, scope, _SESSION, f"{session}.{workspace}", max_age_s=int(max_age_s))


def clear_session(response: Response, scope: Scope) -> None:
    """Lets the browser forget it."""
    _set(response, scope, _SESSION, "", max_age_s=0)


def read_pending_sign_in(scope: Scope) -> bytes:
    """The sign-in at the provider that has begun; empty if there is none."""
    try:
        return base64.urlsafe_b64decode(_read(scope, _BEGUN))
    except ValueError:
        return b""


def set_pending_sign_in(response: Response, scope: Scope, begun: bytes) -> None:
    """Lets the browser keep it; nothing: forget it."""
    _set(response, scope, _BEGUN, base64.urlsafe_b64encode(begun).decode(), max_age_s=_BEGUN_S if begun else 0)


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
        samesite="lax",  # no other site's request carries it, but for links that are followed
    )


def _name(scope: Scope, name: str) -> str:
    """Browsers let nobody but this host set a cookie `__Host-`, which is valid for all of its paths. Below a prefix,
    others share the host, and should not get the cookie."""
    if scope.get("scheme", "http") != "https":
        return name
    return f"__Secure-{name}" if scope.get("root_path") else f"__Host-{name}"
