"""Opens the sockets that the service listens on, with errors that say why one is not available.

Several workers share a port: each has a socket of its own on it (SO_REUSEPORT), and the kernel distributes connections
by a hash of their addresses. Measured with 200 connections to four uvloop servers, opened at once and kept: 44 to 54
for each, and 4 to 125 with one socket that all of them accept from, as the first one to wake up takes what is there.
A worker that starts gets no connections before it listens. A port that is in use has to stay an error nevertheless: so
the supervisor reserves it, and only then do its workers share it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import uvicorn

from runstream_service.errors.startup import StartupError
from runstream_service.http.protocol import BoundedProtocol, close_stuck
from runstream_service.server.settings import Address
from runstream_service.tls.connections import HANDSHAKE_S, Connection

# Attempts to find a port that is free on all addresses of a host.
_TRIES = 20
# asyncio's limits: of a handshake; and from when this side closes a connection until its client has read the rest of
# the answer and has closed its side.
_TLS_TIMEOUTS: dict[str, Any] = {"ssl_handshake_timeout": HANDSHAKE_S, "ssl_shutdown_timeout": 60.0}
# When the service stops: how long clients have to close their side.
_GOODBYE_S = 0.5
# Stuck connections are closed every 20 ticks of uvicorn, which has ten a second.
_TICKS_BETWEEN_CHECKS = 20


class HttpServer(uvicorn.Server):
    """uvicorn, but without its signal handlers (frontend.py stops everything in order); it also closes stuck
    connections, and limits the time of TLS handshakes."""

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        tls: ssl.SSLContext | None = None,
        on_tls_hello: Callable[[str], None] | None = None,
    ) -> None:
        """Without `tls` the server speaks plain HTTP, and calls `on_tls_hello` with the address of each client that
        speaks TLS to it."""
        super().__init__(config)
        self._tls = tls
        self._on_tls_hello = on_tls_hello

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accepts connections on the sockets."""
        loop = asyncio.get_running_loop()
        self.servers = [
            await loop.create_server(
                self._make_protocol,
                sock=listener,
                ssl=self._tls,
                backlog=self.config.backlog,
                **({} if self._tls is None else _TLS_TIMEOUTS),
            )
            for listener in sockets or ()
        ]
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Closes all connections; one with a request under way when that is answered."""
        ending = asyncio.ensure_future(self._end_unread())
        try:
            await super().shutdown(sockets)
        finally:
            ending.cancel()

    async def _end_unread(self) -> None:
        """Ends connections whose clients do not close their side. A client that keeps an idle connection does not read
        from it, so it does not notice that this side has closed; the connection would last until the time limit."""
        while True:
            await asyncio.sleep(_GOODBYE_S)
            for one in list(self.server_state.connections):
                inside = one.transport.get_extra_info("ssl_object")
                if isinstance(inside, Connection) and inside.awaits_goodbye:
                    one.transport.abort()

    def _make_protocol(self) -> BoundedProtocol:
        return BoundedProtocol(self.config, self.server_state, self.lifespan.state, on_tls_hello=self._on_tls_hello)

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; returns whether the server should end."""
        if counter % _TICKS_BETWEEN_CHECKS == 0:
            close_stuck(self.server_state.connections, asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves the signal handlers as they are."""
        yield


# The setting of each port, and an example of it, for errors.
GRPC, HTTP = ("--grpc-listen", "127.0.0.1:50051"), ("--http-listen", "127.0.0.1:5000")
MONITORING = ("--monitoring-listen", "127.0.0.1:9464")


def grpc_port_options(*, shared: bool) -> tuple[tuple[str, int], ...]:
    """The option of a gRPC server that says whether its port is shared. By default gRPC shares a port that is in use,
    instead of reporting it."""
    return (("grpc.so_reuseport", int(shared)),)


def listen_grpc(
    server: grpc.aio.Server,
    address: Address,
    *,
    shared: bool = False,
    credentials: grpc.ServerCredentials | None = None,
) -> Address:
    """Binds a port of the server; returns the address with the port that was chosen, if it was 0. Raises StartupError
    with the reason, which gRPC does not report: therefore the port is bound without gRPC first, except if it is
    `shared`: then the supervisor has reserved it."""
    setting, example = GRPC
    if address.port != 0 and not shared:
        for listener in _bind(address, setting, example):
            listener.close()
    try:
        if credentials is None:
            port = server.add_insecure_port(str(address))
        else:
            port = server.add_secure_port(str(address), credentials)
    except RuntimeError as error:
        raise StartupError(f"cannot listen on {address}", setting=setting, example=example) from error
    return Address(address.host, port)


def listen_http(address: Address, names: tuple[str, str] = HTTP, *, shared: bool = False) -> list[socket.socket]:
    """Binds the port for `HttpServer.serve(sockets=...)`, on all addresses of the host, as gRPC does: `[::]` and
    `0.0.0.0` are all of IPv4 and of IPv6, and `localhost` is 127.0.0.1 and ::1. Raises StartupError."""
    return _bind(address, *names, shared=shared)


class Reservation:
    """Keeps a port for the workers of this process: only processes of the same user can listen on it."""

    def __init__(self, address: Address, setting: str, example: str) -> None:
        """Raises StartupError if the port is in use."""
        listeners = _bind(address, setting, example)
        self.address = Address(address.host, listeners[0].getsockname()[1])
        self._sockets = [_reserve(listener) for listener in listeners]
        for listener in listeners:
            listener.close()

    def close(self) -> None:
        """Releases the port."""
        for one in self._sockets:
            one.close()


def _reserve(listener: socket.socket) -> socket.socket:
    """A socket that holds the address of a listener and gets no connections, as it does not listen.

    `listener` could only be bound because no other process has the port, and until the new socket is bound it keeps it;
    so at no time can two services have the port. Afterwards, this one allows sockets of the same user that ask to share
    (the workers). It must not have SO_REUSEADDR any more: two sockets that have it, and do not listen, may have the
    same port.
    """
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserving = socket.socket(listener.family, socket.SOCK_STREAM)
    if listener.family == socket.AF_INET6:
        reserving.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    # SO_REUSEADDR is for connections of an earlier service that are not forgotten yet (TIME_WAIT).
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        reserving.setsockopt(socket.SOL_SOCKET, option, 1)
    reserving.bind(listener.getsockname())
    reserving.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    return reserving


def _bind(address: Address, setting: str, example: str, *, shared: bool = False) -> list[socket.socket]:
    try:
        hosts = _addresses_of(address)
        for _ in range(_TRIES if address.port == 0 else 1):
            if listeners := _bind_all(hosts, address.port, shared=shared):
                return listeners
        raise OSError(errno.EADDRINUSE, "no port is free on all of its addresses")
    except OSError as error:
        why = error.strerror or str(error)
        raise StartupError(f"cannot listen on {address}: {why}", setting=setting, example=example) from error


def _addresses_of(address: Address) -> list[tuple[int, str]]:
    """The addresses of a host, each with its family. `localhost` always means 127.0.0.1 and ::1, whatever /etc/hosts
    says. Each of the two wildcard addresses means both, since gRPC does not distinguish them, and has no option for
    it."""
    if address.host in ("0.0.0.0", "::"):  # noqa: S104 - the setting says so
        return [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]  # noqa: S104
    if address.host == "localhost":
        return [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, str(where[0])) for family, _, _, _, where in found))


def _bind_all(hosts: list[tuple[int, str]], port: int, *, shared: bool) -> list[socket.socket]:
    """Sockets on one port of all addresses. If the port is 0, the system chooses one for the first address; returns no
    sockets if it is in use on another address. Addresses that this machine does not have (::1 without IPv6) are left
    out, as long as there are others.

    Raises:
        OSError: the requested port is not available.
    """
    listeners: list[socket.socket] = []
    missing: OSError | None = None
    any_port = port == 0
    for family, host in hosts:
        try:
            listener = socket.create_server((host, port), family=family, backlog=2048, reuse_port=shared)
        except OSError as error:
            if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                missing = error
                continue
            for one in listeners:
                one.close()
            if any_port and error.errno == errno.EADDRINUSE and listeners:
                return []
            raise
        port = listener.getsockname()[1]
        listeners.append(listener)
    if not listeners and missing is not None:
        raise missing
    return listeners
