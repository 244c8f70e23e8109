"""System metrics of a run, as the agent gathers them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import runstream
from tests.support.polling import until_now
from tests.support.serve import ServeProcess, command_environment

JOB = """
import sys, runstream
run = runstream.start_run(experiment="system", rank=2, system_metrics=True)
run.log({"loss": 1.0}, step=0)
run.flush(30)
print(run.run_id, flush=True)
sys.stdin.readline()
run.finish()
"""


def test_a_run_that_asks_gets_metrics_of_its_machine_by_rank(data_dir: Path, tmp_path: Path) -> None:
    with ServeProcess(data_dir) as serve:
        environment = {
            "RUNSTREAM_ADDRESS": serve.grpc_address,
            "RUNSTREAM_DIR": str(tmp_path / "journals"),
            "RUNSTREAM_AGENT_IDLE_S": "1",
            "RUNSTREAM_SYSTEM_METRICS_INTERVAL_S": "0.2",
        }
        job = subprocess.Popen(
            [sys.executable, "-c", JOB],
            env=command_environment(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert job.stdout is not None
        run_id = job.stdout.readline().strip()
        with runstream.Client(serve.grpc_address) as client:

            def cpu() -> list[int]:
                found = client.history(run_id, "system/cpu_utilization_percentage", rank=2)
                return list(found.steps.tolist())

            until_now(lambda: len(cpu()) >= 3)
            keys = {point.key for point in client.latest(run_id)}
            assert {
                "system/system_memory_usage_megabytes",
                "system/disk_available_megabytes",
                "system/network_receive_megabytes",
            } <= keys
            job.communicate("\n", timeout=250)
            assert job.returncode == 0
            assert client.get_run(run_id).status == "FINISHED"
            steps = cpu()
            assert steps == sorted(set(steps))
        journals = tmp_path / "journals" / "v1" / "journals"
        until_now(lambda: not list(journals.iterdir()))  # the agent's own, too
