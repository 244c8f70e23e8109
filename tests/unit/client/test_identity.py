"""Which run, rank and attempt a process is, launcher by launcher."""

import uuid

import pytest

from runstream._agent import parent_token
from runstream._identity import check_int32, check_run_id, job_of, rank_of, resolve

TORCHRUN = {"TORCHELASTIC_RUN_ID": "job-7", "RANK": "3", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}
PLAIN_TORCHRUN = {**TORCHRUN, "TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": "8"}
SRUN = {"SLURM_JOB_ID": "123", "SLURM_STEP_ID": "0", "SLURM_PROCID": "2"}
SBATCH = {"SLURM_JOB_ID": "123", "SLURM_PROCID": "0", "SLURM_STEP_ID": str(0xFFFFFFFB)}
OMPI4 = {
    "OMPI_COMM_WORLD_RANK": "5",
    "OMPI_MCA_orte_precondition_transports": "0099b3eaa2c1547e-afb287789133a954",
    "PMIX_NAMESPACE": "1799094273",
    "PMIX_RANK": "5",
}
OMPI5 = {"OMPI_COMM_WORLD_RANK": "1", "PMIX_NAMESPACE": "prterun-node1-4711@1", "PMIX_RANK": "1"}


@pytest.mark.parametrize(
    ("environ", "job", "rank"),
    [
        pytest.param({}, None, 0, id="nothing"),
        pytest.param(TORCHRUN, ("torchelastic", "job-7"), 3, id="torchrun"),
        pytest.param(PLAIN_TORCHRUN, ("torchrun", "agent-1"), 3, id="torchrun without an id, on one node"),
        pytest.param({**PLAIN_TORCHRUN, "LOCAL_WORLD_SIZE": "4"}, None, 3, id="torchrun without an id, on two nodes"),
        pytest.param({**SRUN, **PLAIN_TORCHRUN}, ("slurm", "123", "0"), 3, id="torchrun without an id, under srun"),
        pytest.param({**SRUN, **TORCHRUN}, ("torchelastic", "job-7"), 3, id="torchrun with an id, under srun"),
        pytest.param(SRUN, ("slurm", "123", "0"), 2, id="srun"),
        pytest.param(SBATCH, None, 0, id="batch script outside of a step"),
        pytest.param({"SLURM_PROCID": "4"}, None, 0, id="stray SLURM_PROCID"),
        pytest.param(OMPI4, ("openmpi", "0099b3eaa2c1547e-afb287789133a954", "1799094273"), 5, id="Open MPI 4"),
        pytest.param(OMPI5, ("openmpi", "", "prterun-node1-4711@1"), 1, id="Open MPI 5"),
        pytest.param(
            {**SRUN, "SLURM_STEP_ID": "1", **OMPI5}, ("openmpi", "", "prterun-node1-4711@1"), 1, id="mpirun in sbatch"
        ),
        pytest.param({"OMPI_COMM_WORLD_RANK": "2"}, None, 2, id="an MPI that names no job"),
        pytest.param(
            {"PMIX_NAMESPACE": "palsd.1", "PMIX_RANK": "9"}, ("pmix", "palsd.1"), 9, id="another PMIx launcher"
        ),
        pytest.param({"RANK": "x"}, None, 0, id="a rank that is none"),
    ],
)
def test_the_launcher_names_job_and_rank(environ, job, rank):
    assert job_of(environ, agent=lambda: "agent-1") == job
    assert rank_of(environ) == rank


def test_ranks_of_one_job_share_a_run_and_other_names_do_not():
    one = resolve(SRUN, experiment="e", name="n")
    assert one.shared
    assert one == resolve({**SRUN}, experiment="e", name="n")
    assert one.run_id == resolve({**SRUN, "SLURM_PROCID": "7"}, experiment="e", name="n").run_id
    others = {
        resolve(SRUN, experiment=experiment, name=name).run_id
        for experiment, name in (("e", "m"), ("en", ""), ("", "en"), (None, None))
    }
    assert len(others | {one.run_id}) == 5
    assert resolve(SRUN, experiment="e", name="n", ordinal=1).run_id != one.run_id


def test_an_explicit_run_id_wins_over_the_environment_and_that_over_the_launcher():
    given, from_environment = uuid.uuid4(), uuid.uuid4()
    environ = {**SRUN, "RUNSTREAM_RUN_ID": str(from_environment)}
    assert resolve(environ, experiment="e", name="n", run_id=given.hex).run_id == given.hex
    assert resolve(environ, experiment="e", name="n").run_id == from_environment.hex


def test_a_process_on_its_own_gets_a_fresh_run():
    one = resolve({}, experiment="e", name="n")
    assert not one.shared
    assert not one.warning
    assert one.run_id != resolve({}, experiment="e", name="n").run_id


@pytest.mark.parametrize(
    ("environ", "attempt"),
    [
        ({}, 0),
        ({"TORCHELASTIC_RESTART_COUNT": "2"}, 2),
        ({"SLURM_RESTART_COUNT": "1"}, 1),
        ({"RUNSTREAM_ATTEMPT": "9", "TORCHELASTIC_RESTART_COUNT": "2"}, 9),
    ],
)
def test_restarts_raise_the_attempt(environ, attempt):
    assert resolve(environ, experiment=None, name=None).attempt == attempt
    assert resolve(environ, experiment=None, name=None, attempt=4).attempt == 4


def test_a_rank_without_a_shared_job_is_warned_and_told_what_to_set():
    found = resolve({"RANK": "1"}, experiment="e", name="n")
    assert found.rank == 1
    assert "RUNSTREAM_RUN_ID" in found.warning
    assert not resolve({"RANK": "1"}, experiment="e", name="n", rank=1).warning


def test_a_run_id_is_32_hex_digits():
    assert check_run_id("0123456789ABCDEF0123456789abcdef") == "0123456789abcdef" * 2
    for wrong in ("", "0" * 31, "g" * 32, "0" * 33):
        with pytest.raises(ValueError, match="32 hex digits"):
            check_run_id(wrong)
    with pytest.raises(TypeError):
        check_run_id(7)


def test_a_rank_is_an_int_from_zero():
    assert check_int32("rank", 3) == 3
    for wrong in (-1, 2**31):
        with pytest.raises(ValueError, match="rank"):
            check_int32("rank", wrong)
    for other in ("1", 1.0, True):
        with pytest.raises(TypeError, match="rank"):
            check_int32("rank", other)


def test_the_parent_process_has_a_stable_name():
    assert parent_token() == parent_token()
