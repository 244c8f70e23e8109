"""Fixtures: a directory for journals, and transports on it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from runstream.journal import Directory
from runstream.transport.limits import Limits
from runstream.transport.transport import Transport
from tests.support.polling import until_now

# The waits of a real outage would make the tests slow.
QUICK = Limits(backoff_first_s=0.02, backoff_max_s=0.5, linger_s=0.2, scan_s=0.1)


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    """An empty directory for journals."""
    directory = Directory(tmp_path / "state")
    directory.make()
    return directory


class StartTransport(Protocol):
    """Starts a transport in a thread: on a directory, or on the journals at `paths`."""

    def __call__(
        self,
        directory: Directory | None = None,
        *,
        paths: Iterable[Path] | None = None,
        keep: bool = False,
        limits: Limits = QUICK,
    ) -> Transport: ...


@pytest.fixture
def transports() -> Iterator[StartTransport]:
    """Starts transports in threads, which are stopped at the end."""
    started: list[Transport] = []

    def start(
        directory: Directory | None = None,
        *,
        paths: Iterable[Path] | None = None,
        keep: bool = False,
        limits: Limits = QUICK,
    ) -> Transport:
        transport = Transport(directory, paths=paths, keep=keep, limits=limits)
        transport.start()
        started.append(transport)
        return transport

    yield start
    for transport in started:
        transport.stop(1.0)


def delete(directory: Path) -> None:
    """Deletes a directory although another thread or process goes on writing to it."""

    def is_gone() -> bool:
        shutil.rmtree(directory, ignore_errors=True)
        return not directory.exists()

    until(is_gone)


def until(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Waits until the condition holds."""
    until_now(condition, timeout_s=timeout_s)
