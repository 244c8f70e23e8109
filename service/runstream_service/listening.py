"""The sockets that the service listens on, and the words for those it cannot have."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import grpc
import uvicorn

from runstream_service.cannot_start import CannotStart
from runstream_service.settings import Address


class HttpServer(uvicorn.Server):
    """uvicorn without its signal handlers: ours stop everything in order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures nothing."""
        yield


def listen_grpc(server: grpc.aio.Server, address: Address) -> Address:
    """Binds a port of the server; answers with the real port. Raises CannotStart with a reason, which gRPC has not."""
    if address.port != 0:
        _bind(address, "--grpc-listen", "127.0.0.1:50051").close()
    try:
        port = server.add_insecure_port(str(address))
    except RuntimeError as error:
        raise CannotStart(f"cannot listen on {address}", setting="--grpc-listen", example="127.0.0.1:50051") from error
    return Address(address.host, port)


def listen_http(address: Address) -> socket.socket:
    """Binds the port for `HttpServer.serve(sockets=...)`. Raises CannotStart."""
    return _bind(address, "--http-listen", "127.0.0.1:5000")


def _bind(address: Address, setting: str, example: str) -> socket.socket:
    try:
        family = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((address.host, address.port), family=family, backlog=2048)
    except OSError as error:
        why = error.strerror or str(error)
        raise CannotStart(f"cannot listen on {address}: {why}", setting=setting, example=example) from error
