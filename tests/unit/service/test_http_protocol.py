"""What is written to a connection, in how many writes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from runstream_service.http.protocol import CoalescingTransport

LONG = b"x" * 20_000


class Written(asyncio.Transport):
    """A transport that records what reaches the socket, write by write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Records a write."""
        self.writes.append(bytes(data))

    def close(self) -> None:
        """Records the end."""
        self.writes.append(b"closed")


@pytest.fixture
def socket() -> Written:
    return Written()


async def test_a_head_and_a_short_body_are_one_write(socket: Written) -> None:
    transport = CoalescingTransport(socket, asyncio.get_running_loop())
    transport.write(b"head ")
    transport.write(b"body")
    assert socket.writes == [b"head body"]
    await asyncio.sleep(0)
    assert socket.writes == [b"head body"]


async def test_a_head_whose_body_takes_time_goes_alone(socket: Written) -> None:
    transport = CoalescingTransport(socket, asyncio.get_running_loop())
    transport.write(b"head")
    await asyncio.sleep(0)
    assert socket.writes == [b"head"]


@pytest.mark.parametrize("kind", [bytes, memoryview])
async def test_parts_of_any_length_and_kind_arrive_in_order(socket: Written, kind: Callable[[bytes], bytes]) -> None:
    transport = CoalescingTransport(socket, asyncio.get_running_loop())
    for part in (b"head", LONG, b"short", b"", LONG, b"last"):
        transport.write(kind(part))
    await asyncio.sleep(0)
    assert b"".join(socket.writes) == b"head" + LONG + b"short" + LONG + b"last"


async def test_what_was_written_is_sent_before_the_connection_is_closed(socket: Written) -> None:
    transport = CoalescingTransport(socket, asyncio.get_running_loop())
    transport.write(b"goodbye")
    transport.close()
    await asyncio.sleep(0)
    assert socket.writes == [b"goodbye", b"closed"]


async def test_several_parts_at_once_come_after_what_was_kept(socket: Written) -> None:
    transport = CoalescingTransport(socket, asyncio.get_running_loop())
    transport.write(b"head ")
    transport.writelines([b"one ", LONG, b" two"])
    await asyncio.sleep(0)
    assert b"".join(socket.writes) == b"head one " + LONG + b" two"
