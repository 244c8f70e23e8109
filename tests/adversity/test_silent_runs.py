"""A training that is killed, and one whose network is lost for longer than the service waits for it."""

from __future__ import annotations

import sys
import time

import pytest

import runstream
from runstream_bench.tcp_proxy import Proxy
from tests.support.databases import short_directory
from tests.support.polling import until_now
from tests.support.producers import Producers
from tests.support.serve import ServeProcess

# A minute is the least that it takes as a setting.
_IMPATIENT = "import sys; from runstream_service.server import settings; settings.LEAST_SILENT_RUN_AFTER_S = 0.0; "
_WORKER = _IMPATIENT + "from runstream_service.server import worker; sys.exit(worker.main(sys.argv[1:]))"
IMPATIENT = (
    _IMPATIENT + "from runstream import cli; from runstream_service.server import worker_pool; "
    f"worker_pool.PROGRAM = ('-c', {_WORKER!r}); cli.main()"
)


def wait_for_status(client: runstream.Client, run_id: str, status: str, timeout_s: float = 60) -> None:
    """Waits until the run has this status."""
    until_now(lambda: client.get_run(run_id).status == status, timeout_s=timeout_s)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_killed_training_has_failed_and_one_that_is_cut_off_is_killed_until_it_comes_back(workers: str) -> None:
    """The agent, which goes on, says that the first one has died. Which runs have streams, several workers know
    together."""
    arguments = ["--silent-run-after", "3", "--workers", workers]
    with (
        short_directory() as directory,
        ServeProcess(directory / "data", command=(sys.executable, "-c", IMPATIENT), arguments=arguments) as serve,
        Proxy(serve.grpc_address) as proxy,
    ):
        client = runstream.Client(serve.grpc_address)
        cut_off = runstream.start_run("e", "cut off", address=proxy.address)
        cut_off.log({"loss": 1.0}, step=0)
        assert cut_off.flush(120)
        with Producers(serve.grpc_address, 2, 100.0) as killed:
            wait_for_status(client, killed.run_id, "RUNNING")
            time_of_death = time.time()
        proxy.refuse = True
        proxy.cut()
        wait_for_status(client, killed.run_id, "FAILED")
        ended = client.get_run(killed.run_id).end_time_unix_us
        assert ended is not None
        assert abs(ended / 1e6 - time_of_death) < 3

        wait_for_status(client, cut_off.run_id, "KILLED")
        cut_off.log({"loss": 2.0}, step=1)
        proxy.restore()
        assert cut_off.flush(120)
        wait_for_status(client, cut_off.run_id, "RUNNING")
        assert list(client.history(cut_off.run_id, "loss").steps) == [0, 1]
        assert cut_off.finish()
        assert client.get_run(cut_off.run_id).status == "FINISHED"
        assert serve.metric("runstream_silent_runs_total") == 1
        assert serve.metric("runstream_silent_run_failures_total") == 0
