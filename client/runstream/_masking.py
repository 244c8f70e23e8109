"""Masks passwords in texts."""

from __future__ import annotations

import re

# The password of a URL anywhere in a text: in the authority, or as a query parameter.
_URL_PASSWORD = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s:/@?#]*:)[^\s/?#]*(@)", re.IGNORECASE)
_QUERY_PASSWORD = re.compile(r"(\b(?:password|passfile|sslpassword)=)[^&\s'\"]+", re.IGNORECASE)


def mask_secrets(text: str) -> str:
    """The text without passwords of database URLs."""
    return _QUERY_PASSWORD.sub(r"\1***", _URL_PASSWORD.sub(r"\1***\2", text))
