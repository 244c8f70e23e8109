"""Channels: shared, renewed, closed by the last user."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from runstream._channel import Channels

ADDRESS = "127.0.0.1:1"  # nobody listens there, and nothing is sent


@pytest.fixture
def channels() -> Iterator[Channels]:
    all_of_them = Channels()
    yield all_of_them
    all_of_them.before_fork(time.monotonic())


def is_closed(channel: grpc.Channel) -> bool:
    try:
        call: Any = channel.unary_unary("/no/Call")
        call.future(b"").cancel()
    except ValueError:  # "Cannot invoke RPC on closed channel!"
        return True
    return False


def test_a_renewed_channel_serves_its_users_to_the_end_and_others_get_a_new_one(channels):
    with channels.using(ADDRESS) as staying:
        with channels.using(ADDRESS) as leaving:
            assert leaving is staying
            channels.renew(ADDRESS, leaving)
        with channels.using(ADDRESS) as new:
            assert new is not staying
        assert not is_closed(staying)
    assert is_closed(staying)
    assert not is_closed(new)


def test_whoever_is_told_second_joins_the_channel_that_the_first_got(channels):
    with channels.using(ADDRESS) as first, channels.using(ADDRESS) as second:
        channels.renew(ADDRESS, first)
        with channels.using(ADDRESS) as new:
            channels.renew(ADDRESS, second)
            with channels.using(ADDRESS) as same:
                assert same is new


def test_a_fork_waits_for_the_users_of_a_renewed_channel(channels):
    with channels.using(ADDRESS) as channel:
        channels.renew(ADDRESS, channel)
        assert not channels.before_fork(time.monotonic())
        channels.after_fork_in_parent()
    assert channels.before_fork(time.monotonic())
