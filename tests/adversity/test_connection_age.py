"""Streams that reach the maximum connection age spread over replicas that were added, without an error or a loss."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator

import pytest

import runstream
from tests.support.databases import short_directory
from tests.support.polling import until_now
from tests.support.producers import Producers, assert_exactly_once
from tests.support.serve import ServeProcess

CLIENTS = 4


@pytest.fixture
def replicas(database_url: str) -> Iterator[list[ServeProcess]]:
    """Three replicas on one database, with addresses of their own; none runs yet."""
    arguments = ["--database", database_url, "--max-connection-age", "0.5"]
    with short_directory() as directory:
        made = [ServeProcess(directory / str(number), arguments=arguments) for number in range(3)]
        for replica in made:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                replica.grpc_address = f"127.0.0.1:{listener.getsockname()[1]}"
        with contextlib.ExitStack() as stack:
            for replica in made:
                stack.push(replica)
            yield made


class Follower(threading.Thread):
    """A tail of a run until `last` is logged to it."""

    def __init__(self, address: str, run_id: str) -> None:
        super().__init__(daemon=True)
        self._address = address
        self._run_id = run_id
        self.begun = threading.Event()
        self.steps: dict[int, list[int]] = {rank: [] for rank in range(CLIENTS)}

    def run(self) -> None:
        with runstream.Client(self._address) as client:
            for update in client.tail(self._run_id):
                self.begun.set()
                for series in update.series:
                    if series.key == "loss":
                        self.steps[series.rank] += series.steps
                if any(series.key == "last" for series in update.series):
                    return


def wait_until_spread(replicas: list[ServeProcess]) -> None:
    """Waits until each replica has a stream."""
    until_now(lambda: all(replica.metric("runstream_streams_open") for replica in replicas))


def tails_sent_elsewhere(replica: ServeProcess) -> float:
    labels = {"method": "/runstream.v1.QueryService/Tail", "code": "UNAVAILABLE"}
    with contextlib.suppress(KeyError):  # there is no such sample before the first
        return replica.metric("runstream_grpc_requests_total", **labels)
    return 0.0


def test_streams_spread_over_replicas_that_were_added_and_no_client_says_a_word(replicas, caplog):
    replicas[0].start()
    address = "ipv4:" + ",".join(replica.grpc_address for replica in replicas)
    producers = Producers(address, CLIENTS, 200, apart=True)
    with runstream.start_run("adversity", run_id=producers.run_id, address=address) as run, producers:
        run.log({"first": 1.0})
        assert run.flush(120), run.stats()
        follower = Follower(address, producers.run_id)
        follower.start()
        assert follower.begun.wait(30)
        starts = [threading.Thread(target=replica.start) for replica in replicas[1:]]
        for start in starts:
            start.start()
        for start in starts:
            start.join()
        wait_until_spread(replicas)
        reports = producers.stop()
        run.log({"last": 1.0})
    follower.join(30)
    assert_exactly_once(address, producers.run_id, reports)
    for rank, report in enumerate(reports):
        assert report["said"] == []
        # gRPC closes a connection at its age. On a busy machine, a client may write to it in just that moment; it
        # connects again, and this is all that is left of it.
        assert report["last_error"] == "" or re.search("Broken pipe|reset by peer|Socket closed", report["last_error"])
        assert report["reconnects"] > 0
        steps = sorted(follower.steps[rank])  # in an update, commits have no order
        assert steps == list(range(steps[0], report["logged"]))
    assert caplog.messages == []
    assert sum(tails_sent_elsewhere(replica) for replica in replicas) > 0
    assert not {"rpc_failed", "tail_failed"} & {action for replica in replicas for action in replica.actions()}
