"""Opens gRPC channels to the service.

A channel stays connected to one replica. When that replica cannot serve (`Retry.ELSEWHERE`), the owner of the channel
replaces it by a new one, which resolves the address again and connects to a random replica, or to the next one in a
list of addresses.
"""

from __future__ import annotations

import os
import random

import grpc

from runstream import _settings, _tls
from runstream._endpoint import Endpoint

OPTIONS: tuple[tuple[str, int | str], ...] = (
    # A half-open connection is noticed within 40 s. The service permits a ping every 10 s.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # gRPC also sends pings to measure bandwidth; while one is under way, keepalive waits for its timeout of a minute.
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # The transport and the caller repeat, knowing what was committed; gRPC's own retries would only hide failures.
    ("grpc.enable_retries", 0),
    # By default, gRPC waits up to two minutes before it reconnects. Here the client's own backoff decides.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A name may resolve to another address within seconds; by default, gRPC would resolve it at most twice a minute.
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    # Connections are not shared with channels of other libraries in this process, and really close with their channel.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
)
# If a name has several addresses, such as that of a headless service, connect to a random one, not always the first.
_ANY_ADDRESS = ("grpc.service_config", '{"loadBalancingConfig": [{"pick_first": {"shuffleAddressList": true}}]}')


class Dialer:
    """Remembers which address of a list is next. Not thread-safe: each owner of channels has one, under its lock."""

    def __init__(self) -> None:
        self._turns: dict[str, int] = {}  # by target

    def open(self, endpoint: Endpoint) -> grpc.Channel:
        """Opens a channel, which is not connected yet. Raises CannotDial if a file for TLS cannot be used."""
        # By default, gRPC would send everything through the HTTP proxy, even requests to 127.0.0.1.
        options = (*OPTIONS, ("grpc.enable_http_proxy", int(_settings.uses_http_proxy(os.environ))))
        scheme, _, rest = endpoint.target.partition(":")
        addresses = rest.split(",")
        if scheme not in ("ipv4", "ipv6") or len(addresses) == 1:
            return _channel(endpoint, endpoint.target, (*options, _ANY_ADDRESS))
        turn = self._turns.setdefault(endpoint.target, random.randrange(len(addresses))) % len(addresses)
        return _channel(endpoint, f"{scheme}:{','.join(addresses[turn:] + addresses[:turn])}", options)

    def next_turn(self, endpoint: Endpoint) -> None:
        """Lets the next channel begin with the next address of the list."""
        if endpoint.target in self._turns:
            self._turns[endpoint.target] += 1

    def forget(self, endpoint: Endpoint) -> None:
        """Lets the next channel begin at a random address of the list."""
        self._turns.pop(endpoint.target, None)


def _channel(endpoint: Endpoint, target: str, options: tuple[tuple[str, int | str], ...]) -> grpc.Channel:
    if not endpoint.uses_tls:
        return grpc.insecure_channel(target, options=options)
    # The files are read for each channel, so that a new connection uses a certificate that was replaced.
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(*_tls.read(endpoint.tls)), options=options)
