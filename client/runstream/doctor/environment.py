"""Checks of variables that change how connections are made."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator, Mapping

from runstream import _settings
from runstream.doctor.checks import Check, ok, warning

_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy", "HTTPS_PROXY", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
# Variables of gRPC, and what they cause.
_HARMFUL = {
    "GRPC_TRACE": "gRPC writes a log that is longer than the points; unset it",
    "GRPC_POLL_STRATEGY": "gRPC waits for its sockets in a way that runstream is not tested with; unset it",
    "GRPC_EXPERIMENTS": "gRPC behaves in a way that runstream is not tested with; unset it",
    "GRPC_ENABLE_FORK_SUPPORT": "a process that reads with runstream.Client and forks may hang; unset it",
}


def check_environment(environ: Mapping[str, str], http_url: str) -> Iterator[Check]:
    """Yields one result for proxies, and one for each variable that may do harm."""
    yield _proxies(environ, http_url)
    found = [name for name in _HARMFUL if environ.get(name)]
    if environ.get("GRPC_VERBOSITY", "").upper() == "DEBUG":
        yield warning("environment", "GRPC_VERBOSITY=DEBUG", "gRPC writes a line for every event; unset it")
    for name in found:
        yield warning("environment", f"{name}={environ[name]}", _HARMFUL[name])
    if not found:
        yield ok("environment", "no variable of gRPC that does harm")


def _proxies(environ: Mapping[str, str], http_url: str) -> Check:
    named = [name for name in _PROXIES if environ.get(name)]
    if _settings.uses_http_proxy(environ):
        if used := _settings.http_proxy_variable(environ):
            return warning(
                "proxy",
                f"points go through the proxy in {used}, as RUNSTREAM_HTTP_PROXY says",
                "unset RUNSTREAM_HTTP_PROXY if the service can be reached without it",
            )
        return ok("proxy", "RUNSTREAM_HTTP_PROXY is set, and no variable names a proxy")
    if not named:
        return ok("proxy", "none")
    host = http_url.partition("://")[2].partition("/")[0].rpartition("@")[2].rpartition(":")[0].strip("[]")
    if host and not urllib.request.proxy_bypass_environment(host, _proxies_of(environ)):  # type: ignore[attr-defined]
        return warning(
            "proxy",
            f"{', '.join(named)}: points do not use it, but MLflow's own requests to {host} do",
            f"add {host} to no_proxy, unless the service is behind that proxy",
        )
    return ok("proxy", f"{', '.join(named)}: not used for {host or 'the service'}")


def _proxies_of(environ: Mapping[str, str]) -> dict[str, str]:
    return {"no": environ.get("no_proxy") or environ.get("NO_PROXY") or ""}
