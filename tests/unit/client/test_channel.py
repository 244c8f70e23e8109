"""Channels are shared, replaced after a failure, and closed by their last user."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import pytest

import runstream
from runstream._channel import Channels
from runstream._endpoint import Endpoint

ENDPOINT = Endpoint("127.0.0.1:1")  # nobody listens there, and nothing is sent


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


def test_a_renewed_channel_serves_its_users_to_the_end_and_others_get_a_new_one(channels: Channels) -> None:
    with channels.lease(ENDPOINT) as staying:
        with channels.lease(ENDPOINT) as leaving:
            assert leaving is staying
            channels.replace(ENDPOINT, leaving)
        with channels.lease(ENDPOINT) as new:
            assert new is not staying
        assert not is_closed(staying)
    assert is_closed(staying)
    assert not is_closed(new)


def test_two_users_that_replace_a_channel_get_the_same_new_one(channels: Channels) -> None:
    with channels.lease(ENDPOINT) as first, channels.lease(ENDPOINT) as second:
        channels.replace(ENDPOINT, first)
        with channels.lease(ENDPOINT) as new:
            channels.replace(ENDPOINT, second)
            with channels.lease(ENDPOINT) as same:
                assert same is new


def test_of_a_list_of_addresses_the_next_one_is_tried_first_after_a_failure(
    channels: Channels, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets: list[str] = []
    new_channel = grpc.insecure_channel

    def spy(target: str, options: Sequence[tuple[str, object]] | None) -> grpc.Channel:
        targets.append(target)
        return new_channel(target, options)

    monkeypatch.setattr(grpc, "insecure_channel", spy)
    a, b, c = "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"
    endpoint = Endpoint(f"ipv4:{a},{b},{c}")
    for _ in range(6):
        with channels.lease(endpoint) as channel:
            channels.replace(endpoint, channel)
    orders = [[a, b, c], [b, c, a], [c, a, b]]
    tried = [target.removeprefix("ipv4:").split(",") for target in targets if target.startswith("ipv4:")]
    first = orders.index(tried[0])
    assert tried == [orders[(first + turn) % 3] for turn in range(6)]


def test_a_fork_waits_for_the_users_of_a_renewed_channel(channels: Channels) -> None:
    with channels.lease(ENDPOINT) as channel:
        channels.replace(ENDPOINT, channel)
        assert not channels.before_fork(time.monotonic())
        channels.after_fork_in_parent()
    assert channels.before_fork(time.monotonic())


def test_a_fork_does_not_wait_for_a_stream_that_nobody_reads_at_the_moment(channels: Channels) -> None:
    cancelled: list[bool] = []

    class Stream:
        def cancel(self) -> None:
            cancelled.append(True)

    stream: Any = Stream()
    with channels.lease(ENDPOINT, is_stream=True):
        channels.register_stream(stream)
        with channels.inside(stream):
            assert not channels.before_fork(time.monotonic())
        assert channels.before_fork(time.monotonic())
        channels.after_fork_in_parent()
        assert cancelled
        child = channels.for_child()
        with pytest.raises(runstream.Unavailable, match="has forked"), child.inside(stream):
            pass
        cancelled.clear()
        child.cancel_stream(stream)
        assert not cancelled, "it belongs to the parent"


@pytest.mark.parametrize("value", ["0", "false"])
def test_a_child_in_which_grpc_would_abort_gets_an_error(
    channels: Channels, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("GRPC_ENABLE_FORK_SUPPORT", value)
    with channels.for_child().lease(ENDPOINT):  # the parent has not used gRPC
        pass
    with channels.lease(ENDPOINT):
        pass
    with pytest.raises(runstream.FailedPrecondition, match="GRPC_ENABLE_FORK_SUPPORT"):
        channels.for_child().lease(ENDPOINT).__enter__()
