"""From the header Authorization to a token."""

from __future__ import annotations

import base64
import binascii


def token_of(authorization: str) -> str:
    """The token in the value of the header: that of `Bearer` (RFC 6750), or the password of `Basic` (RFC 7617), which
    MLflow's clients send if they have a user name. Empty if there is no token."""
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            _user, _, password = base64.b64decode(rest.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return ""
        return password
    return ""
