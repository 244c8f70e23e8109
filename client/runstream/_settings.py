"""The address of the service and the bounds of memory: from arguments, else the environment, else defaults."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass

logger = logging.getLogger("runstream")

DEFAULT_ADDRESS = "127.0.0.1:50051"


@dataclass(frozen=True)
class Settings:
    """How a run sends its points. Times are in seconds, sizes in bytes."""

    address: str = DEFAULT_ADDRESS
    max_points: int = 1_000_000  # queue, open columns and unacknowledged batches together
    max_bytes: int = 64 * 1024 * 1024
    max_call_bytes: int = 16 * 1024 * 1024  # params and tags that wait
    batch_points: int = 1_000  # a batch is sealed when it has this many points...
    batch_interval_s: float = 0.5  # ...or is this old
    exit_timeout_s: float = 10.0  # how long the interpreter's exit may wait for the last points
    call_timeout_s: float = 15.0  # deadline of one unary call; it is repeated
    open_timeout_s: float = 30.0  # a stream that is not answered within this time is given up
    backoff_first_s: float = 0.1
    backoff_max_s: float = 30.0
    backoff_protocol_s: float = 60.0  # after an error that a retry alone will not cure


def from_environment(address: str | None, environ: Mapping[str, str]) -> Settings:
    """The settings of this process. A bad `address` raises; a bad variable causes a warning and keeps the default."""
    defaults = Settings()
    return Settings(
        address=check_address(address if address is not None else environ.get("RUNSTREAM_ADDRESS") or DEFAULT_ADDRESS),
        max_points=int(_number(environ, "RUNSTREAM_BUFFER_POINTS", defaults.max_points, 1)),
        max_bytes=int(_number(environ, "RUNSTREAM_BUFFER_BYTES", defaults.max_bytes, 4096)),
        exit_timeout_s=_number(environ, "RUNSTREAM_EXIT_TIMEOUT_S", defaults.exit_timeout_s, 0),
    )


def check_address(address: object) -> str:
    """host:port, or a gRPC target such as dns:///host:port or unix:/path."""
    if not isinstance(address, str):
        raise TypeError(f"address must be a string such as {DEFAULT_ADDRESS!r}, not {type(address).__name__}")
    if address.startswith(("http://", "https://")):
        raise ValueError(f"address {address!r}: give the gRPC address as host:port, without http://")
    if not address or address != address.strip() or ":" not in address:
        raise ValueError(f"address {address!r}: expected host:port, dns:///host:port or unix:/path")
    return address


def uses_http_proxy(environ: Mapping[str, str]) -> bool:
    """Whether connections go through the proxy for web pages that the environment names; only if asked for."""
    return environ.get("RUNSTREAM_HTTP_PROXY", "").strip().lower() in ("1", "true", "yes", "on")


def http_proxy_variable(environ: Mapping[str, str]) -> str:
    """The variable with the proxy that connections go through, in gRPC's order; empty if they go through none."""
    names = ("grpc_proxy", "https_proxy", "http_proxy") if uses_http_proxy(environ) else ()
    return next((name for name in names if environ.get(name)), "")


def _number(environ: Mapping[str, str], name: str, default: float, least: float) -> float:
    text = environ.get(name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value < math.inf:
        logger.warning("%s=%r is not a number of at least %s; using %s", name, text, least, default)
        return default
    return value
