"""HTTP and gRPC listen on the same addresses, IPv4 and IPv6."""

from __future__ import annotations

import contextlib
import errno
import socket
from pathlib import Path
from typing import Any

import grpc
import pytest

from runstream_service.errors.startup import StartupError
from runstream_service.server.settings import Address
from runstream_service.server.sockets import GRPC, Reservation, listen_http
from tests.support.serve import ServeProcess


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")


@needs_ipv6
@pytest.mark.parametrize(
    ("host", "workers"), [("[::]", "1"), ("0.0.0.0", "1"), ("localhost", "1"), ("[::]", "2"), ("localhost", "2")]
)
def test_a_service_answers_on_ipv4_and_ipv6(data_dir: Path, host: str, workers: str) -> None:
    serve = ServeProcess(data_dir, arguments=["--workers", workers, "--allow-anonymous"])
    serve.grpc_address, serve.http_url = f"{host}:0", f"http://{host}:0"
    with serve:
        http_port, grpc_port = serve.http_url.rpartition(":")[2], serve.grpc_address.rpartition(":")[2]
        for loopback in ("127.0.0.1", "[::1]"):
            serve.http_url = f"http://{loopback}:{http_port}"
            assert serve.get("/healthz")[0] == 200
            with grpc.insecure_channel(f"{loopback}:{grpc_port}") as channel:
                grpc.channel_ready_future(channel).result(10)


@pytest.mark.parametrize(("host", "found"), [("localhost", "127.0.0.1"), ("0.0.0.0", "0.0.0.0"), ("::", "0.0.0.0")])
def test_a_name_is_listened_on_at_each_of_its_addresses_that_this_machine_has(
    monkeypatch: pytest.MonkeyPatch, host: str, found: str
) -> None:
    """Many containers have no IPv6."""
    create = socket.create_server

    def without_ipv6(where: tuple[str, int], *, family: int, **options: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        return create(where, family=family, **options)

    monkeypatch.setattr(socket, "create_server", without_ipv6)
    (listener,) = listen_http(Address(host, 0))
    assert listener.getsockname()[0] == found
    listener.close()


@needs_ipv6
def test_a_port_that_is_taken_on_one_address_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartupError, match="cannot listen on localhost"):
            listen_http(Address("localhost", port))


# -- ports that several workers share ----------------------------------------------------------------------------------


def reserve(port: int = 0, host: str = "127.0.0.1") -> contextlib.closing[Reservation]:
    return contextlib.closing(Reservation(Address(host, port), *GRPC))


def share(address: Address) -> socket.socket:
    (listener,) = listen_http(address, shared=True)
    return listener


def test_workers_listen_on_a_reserved_port_together() -> None:
    with reserve() as reservation, share(reservation.address) as one, share(reservation.address) as other:
        for listener in (one, other):
            listener.setblocking(False)
        clients = [socket.create_connection(("127.0.0.1", reservation.address.port)) for _ in range(64)]
        taken = {listener: accept_all(listener) for listener in (one, other)}
        for connection in (*clients, *taken[one], *taken[other]):
            connection.close()
    assert len(taken[one]) + len(taken[other]) == 64, "the reservation takes none"
    assert min(map(len, taken.values())) > 0


def accept_all(listener: socket.socket) -> list[socket.socket]:
    accepted = []
    with contextlib.suppress(BlockingIOError):
        while True:
            accepted.append(listener.accept()[0])
    return accepted


@pytest.mark.parametrize("workers", [0, 1])
def test_a_reserved_port_is_refused_to_other_services(workers: int) -> None:
    with reserve() as reservation, contextlib.ExitStack() as stack:
        for _ in range(workers):
            stack.enter_context(share(reservation.address))
        with pytest.raises(StartupError, match="Address already in use"):
            listen_http(reservation.address)
        with pytest.raises(StartupError, match="Address already in use"), reserve(reservation.address.port):
            pass


@needs_ipv6
def test_a_port_is_reserved_on_all_addresses() -> None:
    with reserve(host="localhost") as reservation:
        for host in ("127.0.0.1", "::1"):
            with pytest.raises(StartupError, match="Address already in use"):
                listen_http(Address(host, reservation.address.port))


def test_connections_of_an_earlier_service_do_not_hold_a_port() -> None:
    """They stay in TIME_WAIT for a minute, where the service closed them first."""
    (listener,) = listen_http(Address("127.0.0.1", 0))
    port = listener.getsockname()[1]
    for shared in (False, True, False):
        with listener, socket.create_connection(("127.0.0.1", port)) as client:
            connection, _ = listener.accept()
            connection.close()
            assert client.recv(1) == b""
        if shared:
            (listener,) = listen_http(Address("127.0.0.1", port))
        else:
            with reserve(port) as reservation:
                listener = share(reservation.address)
    listener.close()
