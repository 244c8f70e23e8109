"""The cookie of somebody who signed in. It holds the text of the session, and the workspace that was chosen last.

The session says which workspaces its owner may enter; the choice among them is the browser's, so it needs no row.
"""

from __future__ import annotations

import re

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import Response
from starlette.types import Scope

_FORM = re.compile(r"([A-Za-z0-9_-]{20,100})\.([a-z0-9-]{1,63})")


def read_session(scope: Scope) -> tuple[str, str]:
    """The session's text and the chosen workspace of a request; empty if it has none."""
    cookies = cookie_parser(Headers(scope=scope).get("cookie", ""))
    match = _FORM.fullmatch(cookies.get(_name(scope), ""))
    return (match[1], match[2]) if match else ("", "")


def set_session(response: Response, scope: Scope, session: str, workspace: str, *, max_age_s: float) -> None:
    """Lets the browser keep it."""
    _set(response, scope, f"{session}.{workspace}", max_age_s=int(max_age_s))


def clear_session(response: Response, scope: Scope) -> None:
    """Lets the browser forget it."""
    _set(response, scope, "", max_age_s=0)


def _set(response: Response, scope: Scope, value: str, *, max_age_s: int) -> None:
    response.set_cookie(
        _name(scope),
        value,
        max_age=max_age_s,
        path=scope.get("root_path") or "/",
        secure=scope["scheme"] == "https",
        httponly=True,  # no script of a page reads it
        samesite="lax",  # no other site's request carries it, but for links that are followed
    )


def _name(scope: Scope) -> str:
    """Browsers let nobody but this host set a cookie `__Host-`, which is valid for all of its paths. Below a prefix,
    others share the host, and should not get the cookie."""
    if scope["scheme"] != "https":
        return "runstream_session"
    return "__Secure-runstream_session" if scope.get("root_path") else "__Host-runstream_session"
