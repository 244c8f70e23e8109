"""Tracking URIs: URLs with a short-lived token as the password (RFC 3986, 3.2.1), which MLflow's clients send as Basic
authentication."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

# MLflow's clients need a user name; the service ignores it.
USER = "token"


def tracking_uri(url: str, token: str) -> str:
    """The tracking URI of a token. `url` is that of the service's HTTP port."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{USER}:{token}@{host}", query="", fragment="")).rstrip("/")
