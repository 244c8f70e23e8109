"""All wake-ups of grpc.aio are read in one call."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from runstream_service.server.grpc_events import _leave_one_byte, all_wakeups_read

Sockets = tuple[socket.socket, socket.socket]


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    reading, writing = socket.socketpair()
    with reading, writing:
        reading.setblocking(False)
        yield reading, writing


class _Grpc:
    """Reads one byte at each wake-up, as grpc.aio does."""

    def __init__(self, reading: socket.socket) -> None:
        self._reading = reading
        self.woken = asyncio.Event()
        self.wakeups = 0

    def wake(self, argument: str) -> None:
        assert argument == "argument"
        assert self._reading.recv(1) == b"1"
        self.wakeups += 1
        self.woken.set()


async def test_many_wakeups_take_one_iteration_of_the_event_loop(sockets: Sockets) -> None:
    reading, writing = sockets
    grpc = _Grpc(reading)
    with all_wakeups_read():
        asyncio.get_running_loop().add_reader(reading, grpc.wake, "argument")
    for times in (1, 2):
        writing.send(b"1" * 200)
        await asyncio.wait_for(grpc.woken.wait(), 10)
        grpc.woken.clear()
        with pytest.raises(BlockingIOError):
            reading.recv(1)
        assert grpc.wakeups == times
    asyncio.get_running_loop().remove_reader(reading)


def test_wakeups_that_another_event_loop_has_read_are_left_to_it(sockets: Sockets) -> None:
    reading, _ = sockets
    grpc = _Grpc(reading)
    _leave_one_byte(reading, grpc.wake, "argument")
    assert grpc.wakeups == 0


async def test_after_the_block_the_event_loop_is_as_before(sockets: Sockets) -> None:
    loop = asyncio.get_running_loop()
    reading, writing = sockets
    grpc = _Grpc(reading)
    with all_wakeups_read():
        pass
    loop.add_reader(reading, grpc.wake, "argument")
    writing.send(b"11")
    for wakeup in (1, 2):
        grpc.woken.clear()
        if grpc.wakeups < wakeup:
            await asyncio.wait_for(grpc.woken.wait(), 10)
    assert grpc.wakeups == 2
    loop.remove_reader(reading)


_USES_GRPC = """
import asyncio, grpc, uvloop
from runstream_service.server import grpc_events

calls = []
leave_one_byte = grpc_events._leave_one_byte
grpc_events._leave_one_byte = lambda *arguments: (calls.append(arguments), leave_one_byte(*arguments))

async def main():
    with grpc_events.all_wakeups_read():
        grpc.aio.init_grpc_aio()
    echo = grpc.unary_unary_rpc_method_handler(answer)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("s", {"echo": echo})])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        answers = await asyncio.gather(*(channel.unary_unary("/s/echo")(b"%d" % number) for number in range(500)))
    assert answers == [b"%d" % number for number in range(500)]
    await server.stop(0)

async def answer(request, context):
    return request

uvloop.run(main())
assert calls, "grpc.aio does not use add_reader any more: see whether it still reads one byte for each event"
"""


def test_the_installed_grpc_is_woken_up_in_this_way() -> None:
    ended = subprocess.run([sys.executable, "-c", _USES_GRPC], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
