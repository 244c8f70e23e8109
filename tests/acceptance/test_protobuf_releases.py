"""The client with the releases of protobuf that other packages choose for it.

tests/unit/client/test_oldest.py has the oldest one; all other tests have that of constraints.txt.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.environments import environment
from tests.support.markdown import ROOT
from tests.support.serve import ServeProcess

PROGRAM = """
import google.protobuf
import runstream

with runstream.start_run(experiment="releases", name=google.protobuf.__version__, params={"rate": 0.1}) as run:
    for step in range(100):
        run.log({"loss": 1 / (step + 1)}, step=step)
print(runstream.Client().history(run.run_id, "loss").values[99])
try:
    runstream.Client().get_run("0" * 32)
except runstream.NotFound as error:
    print(error.reason)
"""


@pytest.mark.parametrize("release", ["5.26.1", "5.29.6", "7.36.2"])
def test_the_client_logs_and_reads_with_this_protobuf(serve: ServeProcess, release: str, tmp_path: Path) -> None:
    """TensorFlow 2.18 and 2.19 bring 5.29."""
    python = environment(f"protobuf-{release}", "grpcio==1.85.3", f"protobuf=={release}")
    done = subprocess.run(
        [str(python), "-W", "error", "-c", PROGRAM],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "client"),
            "RUNSTREAM_ADDRESS": serve.grpc_address,
            "RUNSTREAM_DIR": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout.split()) == (0, ["0.01", "RUN_NOT_FOUND"]), done.stderr
