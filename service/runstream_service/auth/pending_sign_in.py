"""A sign-in at an OpenID Connect provider that has begun and is not finished."""

from __future__ import annotations

import msgspec


class PendingSignIn(msgspec.Struct, frozen=True):
    """What the browser keeps in a cookie from the beginning of a sign-in until it comes back from the
    provider. So no replica has to remember it, and a sign-in can only be finished in the browser that began it."""

    state: str
    nonce: str
    verifier: str
    wanted: str  # the page to show afterwards
