"""Which signals end the demo."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from runstream_service.demo.command import Interrupted, _signals_raise


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_signal_that_asks_it_to_end_ends_it() -> None:
    with pytest.raises(Interrupted), _signals_raise():
        signal.raise_signal(signal.SIGTERM)


def test_what_was_ignored_when_it_was_started_stays_ignored() -> None:
    """As with `nohup runstream demo &`."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with _signals_raise():
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGINT)
