"""Short-lived tracking URIs: a token as the password in a URL (RFC 3986, 3.2.1), which MLflow's clients send as Basic
authentication."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

# MLflow's clients need a user name; the service ignores it.
USER = "token"


def tracking_uri(url: str, token: str) -> str:
    """The URL of the service's HTTP port with the token in it."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{USER}:{token}@{host}", query="", fragment="")).rstrip("/")
