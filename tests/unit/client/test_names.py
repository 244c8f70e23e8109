"""A name whose address changes: the client looks it up again as soon as a connection fails."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from tests.unit.client.conftest import StartRun
from tests.unit.client.reference_service import ReferenceService
from tests.unit.client.services import Service


class NameServer:
    """Answers every question for an A record with `address`, over UDP."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.asked = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                question, peer = self._socket.recvfrom(512)
            except OSError:
                return
            self.asked += 1
            end = question.index(b"\0", 12) + 5
            is_a = struct.unpack("!H", question[end - 4 : end - 2]) == (1,)
            answer = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + socket.inet_aton(self.address) if is_a else b""
            header = question[:2] + struct.pack("!HHHHH", 0x8180, 1, int(is_a), 0, 0)
            with contextlib.suppress(OSError):  # it was closed meanwhile
                self._socket.sendto(header + question[12:end] + answer, peer)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def names() -> Iterator[NameServer]:
    server = NameServer("127.0.0.1")
    yield server
    server.close()


@pytest.fixture
def successor(service: Service) -> Iterator[ReferenceService]:
    """Another replica, at another address and the same port."""
    other = ReferenceService("127.0.0.2", service.port)
    yield other
    other.stop()


@pytest.mark.reference_only("two services at one port of two addresses")
def test_an_address_that_changes_behind_a_name_is_found_within_seconds(
    service: ReferenceService, successor: ReferenceService, start_carried: StartRun, names: NameServer
) -> None:
    successor.ledger.runs = service.ledger.runs
    run = start_carried("e", address=f"dns://127.0.0.1:{names.port}/svc.test:{service.port}")
    run.log({"loss": 0.0}, step=0)
    assert run.flush(120), run.stats()
    assert service.values("loss") == [0.0]
    asked = names.asked
    names.address = "127.0.0.2"
    service.stop()
    run.log({"loss": 1.0}, step=1)
    begun = time.monotonic()
    assert run.flush(120), run.stats()
    assert time.monotonic() - begun < 15, "gRPC alone looks a name up twice a minute"
    assert names.asked > asked
    assert successor.ledger.values("loss") == [1.0]
