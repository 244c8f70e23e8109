"""A sign-in at an OpenID Connect provider, under way."""

from __future__ import annotations

import msgspec


class PendingSignIn(msgspec.Struct, frozen=True):
    """A sign-in that has begun, which the browser keeps until it comes back from the provider: so that nobody can end
    somebody else's, and no replica has to remember it."""

    state: str
    nonce: str
    verifier: str
    wanted: str  # the page to show afterwards
