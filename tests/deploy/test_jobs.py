"""The files of `deploy/jobs`: on a real Slurm, and, for platforms that cannot be here, with the variables and processes
that they make."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

import runstream
from tests.deploy.pod import Pod
from tests.support.databases import short_directory
from tests.support.markdown import ROOT
from tests.support.polling import until_now
from tests.support.serve import ServeProcess, command_environment
from tests.support.slurm import PROGRAMS, Slurm

JOBS = ROOT / "deploy" / "jobs"
TRAIN = """
import pathlib, sys, time
import runstream
with runstream.start_run(experiment="training") as run:
    for step in range(5):
        run.log({"loss": 1 / (step + 1)}, step=step)
    run.flush(60)
    while pathlib.Path("wait").exists():  # in the middle of the training
        time.sleep(0.05)
"""
TRAIN_WITH_MLFLOW = """
import mlflow
with mlflow.start_run():
    mlflow.log_metric("loss", 0.5, step=3)
"""


@pytest.fixture(scope="module")
def serve() -> Iterator[ServeProcess]:
    with short_directory() as directory, ServeProcess(directory / "data") as process:
        yield process


@pytest.fixture
def client(serve: ServeProcess) -> runstream.Client:
    return runstream.Client(serve.grpc_address)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The directory of the user, with `train.py`."""
    (tmp_path / "train.py").write_text(TRAIN)
    return tmp_path


@pytest.fixture
def variables(serve: ServeProcess) -> dict[str, str]:
    """The environment of a user who has set the address of the service; `python` is ours."""
    return command_environment(
        {
            "RUNSTREAM_ADDRESS": serve.grpc_address,
            "RUNSTREAM_MLFLOW_HTTP_ADDRESS": serve.http_url,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
    )


def ranks_and_attempts(client: runstream.Client, run_id: str) -> list[tuple[int, int]]:
    return [(one.rank, one.attempt) for one in client.history(run_id, "loss").series]


def execute(command: list[str], folder: Path, variables: Mapping[str, str]) -> None:
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(any(shutil.which(name) is None for name in PROGRAMS), reason="Slurm (Debian: slurm-wlm) is missing")
def test_a_job_of_slurm_is_one_run_before_and_after_it_is_requeued(
    folder: Path, variables: dict[str, str], client: runstream.Client
) -> None:
    (folder / "wait").touch()
    with short_directory() as directory, Slurm(directory).running() as slurm:
        options = ["--parsable", "--ntasks=2", "--overcommit", "--output=out.txt"]
        job = slurm.run(
            "sbatch", *options, str(JOBS / "slurm.sbatch"), "python", "train.py", directory=folder, variables=variables
        ).strip()
        found = f"attributes.run_name = 'training {job}'"
        until_now(lambda: client.search_runs(found), timeout_s=120)
        (run,) = client.search_runs(found)
        until_now(lambda: ranks_and_attempts(client, run.run_id) == [(0, 0), (1, 0)], timeout_s=120)
        slurm.requeue_now(job)
        (folder / "wait").unlink()
        until_now(lambda: client.get_run(run.run_id).status == "FINISHED", timeout_s=120)
    assert ranks_and_attempts(client, run.run_id) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_a_pod_of_a_job_that_is_killed_leaves_its_points_to_the_agent_and_its_successor_is_the_next_attempt(
    folder: Path, serve: ServeProcess, client: runstream.Client
) -> None:
    pod = yaml.safe_load((JOBS / "kubernetes-job.yaml").read_text())["spec"]["template"]["spec"]
    uid = uuid.uuid4()
    secrets = {"runstream-token": {"token": ""}}
    (folder / "wait").touch()

    def attempt(failures: int) -> Pod:
        return Pod(
            pod,
            folder,
            labels={"batch.kubernetes.io/controller-uid": str(uid)},
            annotations={
                "batch.kubernetes.io/job-completion-index": "2",
                "batch.kubernetes.io/job-index-failure-count": str(failures),
            },
            secrets=secrets,
            replaced={"runstream.runstream.svc:50051": serve.grpc_address},
        )

    serve.terminate()
    with attempt(0) as first:
        until_now(lambda: first.wrote("loss"))  # while the service is away
        first.container("trainer").kill()
        serve.start()
    (folder / "wait").unlink()
    with attempt(1) as second:
        assert second.container("trainer").wait(120) == 0
        # The agent of either pod stores what the first one left; that of the second lives as long as its pod.
        until_now(lambda: ranks_and_attempts(client, uid.hex) == [(2, 0), (2, 1)])
    assert [len(one.steps) for one in client.history(uid.hex, "loss").series] == [5, 5]


def test_the_jobs_of_kubernetes_are_valid() -> None:
    job = yaml.safe_load((JOBS / "kubernetes-job.yaml").read_text())
    kubernetes_validate.validate(job, "1.30", strict=True)
    jobset = yaml.safe_load((JOBS / "jobset.yaml").read_text())
    (replicated,) = jobset["spec"]["replicatedJobs"]
    kubernetes_validate.validate(job_of(replicated["template"]["spec"]), "1.30", strict=True)
    trainer = yaml.safe_load((JOBS / "trainjob.yaml").read_text())["spec"]["trainer"]
    container = {"name": "node", "image": trainer["image"], "command": trainer["command"], "env": trainer["env"]}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    kubernetes_validate.validate(job_of({"template": template}), "1.30", strict=True)


def job_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "training"}, "spec": spec}


def test_a_notebook_on_databricks_finds_the_service_without_a_setting(
    folder: Path, serve: ServeProcess, client: runstream.Client
) -> None:
    root = folder / "root"
    for name in ("databricks/spark/conf", "etc"):
        (root / name).mkdir(parents=True)
    (root / "databricks" / "python").symlink_to(Path(sys.prefix))
    grpc_port, http_port = serve.grpc_address.rpartition(":")[2], serve.http_url.rpartition(":")[2]
    cluster = {
        "RUNSTREAM_HOST": "127.0.0.1",
        "RUNSTREAM_SCHEME": "http",
        "RUNSTREAM_GRPC_PORT": grpc_port,
        "RUNSTREAM_HTTP_PORT": http_port,
        "RUNSTREAM_INIT_ROOT": str(root),
    }
    execute([str(JOBS / "databricks-init.sh")], folder, command_environment(cluster))
    (folder / "notebook.py").write_text(TRAIN_WITH_MLFLOW)
    settings = root / "databricks" / "spark" / "conf" / "spark-env.sh"
    start = f"source {settings}; RUNSTREAM_DIR={folder}/journal exec {sys.executable} notebook.py"
    execute(["bash", "-c", start], folder, command_environment({"MLFLOW_TRACKING_URI": "databricks"}))
    (run,) = client.search_runs(experiment="Default")
    (series,) = client.history(run.run_id, "loss").series
    assert list(series.steps) == [3]
    named = dict(line.split("=", 1) for line in (root / "etc" / "environment").read_text().splitlines())
    assert named["MLFLOW_TRACKING_URI"] == serve.http_url


def test_all_nodes_of_a_job_on_azure_log_to_runstream_and_not_to_azures_own_server(
    folder: Path, variables: dict[str, str], client: runstream.Client
) -> None:
    job = yaml.safe_load((JOBS / "azureml-job.yaml").read_text())
    of_azure = {
        **variables,
        "AZUREML_RUN_ID": "calm_toe_4f2k",
        "MLFLOW_TRACKING_URI": "azureml://eastus.api.azureml.ms/mlflow/v1.0",
        "MLFLOW_RUN_ID": "calm_toe_4f2k",
        "MLFLOW_EXPERIMENT_ID": "7",
    }
    for rank, program in (("1", TRAIN), ("0", TRAIN_WITH_MLFLOW)):
        (folder / "train.py").write_text(program)
        execute(["bash", "-c", job["command"]], folder, {**of_azure, "RANK": rank, "WORLD_SIZE": "2"})
    (run,) = client.search_runs("attributes.run_name = 'calm_toe_4f2k'")
    assert run.status == "FINISHED"
    assert ranks_and_attempts(client, run.run_id) == [(-1, 0), (1, 0)]  # MLflow knows no ranks
    assert set(job["environment_variables"]) <= set(variables)


def test_all_hosts_of_a_job_on_sagemaker_share_the_run(
    folder: Path, variables: dict[str, str], client: runstream.Client
) -> None:
    shutil.copy(JOBS / "sagemaker-train.sh", folder)
    of_job = {**variables, "TRAINING_JOB_NAME": "pytorch-2026-11-29", "SM_HOSTS": '["algo-1", "algo-2"]'}
    for host in ("algo-2", "algo-1"):
        execute(["./sagemaker-train.sh"], folder, {**of_job, "SM_CURRENT_HOST": host})
    (run,) = client.search_runs("attributes.run_name = 'pytorch-2026-11-29'")
    assert run.status == "FINISHED"
    assert ranks_and_attempts(client, run.run_id) == [(0, 0), (1, 0)]


def test_a_job_without_an_id_is_refused(folder: Path, variables: dict[str, str]) -> None:
    command = [sys.executable, "-m", "runstream.exec", "--job", "", "--", "true"]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        2,
        "runstream: --job is empty: the variable that should hold the job's id may be unset\n",
    )


def test_an_agent_goes_on_for_its_grace_and_ends_at_once_at_a_second_signal(
    folder: Path, variables: dict[str, str]
) -> None:
    journal = {"RUNSTREAM_DIR": str(folder / "journal")}
    nowhere = {**variables, **journal, "RUNSTREAM_ADDRESS": "127.0.0.1:9", "RUNSTREAM_MODE": "offline"}
    execute([sys.executable, "train.py"], folder, nowhere)
    agent = subprocess.Popen(
        [sys.executable, "-m", "runstream.agent", "run", "--stay", "--grace", "600"],
        env={**variables, **journal, "RUNSTREAM_ADDRESS": "127.0.0.1:9"},
    )
    until_now((folder / "journal" / "v1" / "agent.json").exists)
    agent.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        agent.wait(5)  # longer than without --grace
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(30) == 0
