"""HTTP and gRPC listen on the same addresses, IPv4 and IPv6."""

from __future__ import annotations

import errno
import socket
from pathlib import Path
from typing import Any

import grpc
import pytest

from runstream_service.cannot_start import CannotStart
from runstream_service.server.listening import listen_http
from runstream_service.settings import Address
from tests.support.serve import ServeProcess


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")


@needs_ipv6
@pytest.mark.parametrize("host", ["[::]", "0.0.0.0", "localhost"])
def test_a_service_answers_on_ipv4_and_ipv6(data_dir: Path, host: str) -> None:
    serve = ServeProcess(data_dir)
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
        with pytest.raises(CannotStart, match="cannot listen on localhost"):
            listen_http(Address("localhost", port))
