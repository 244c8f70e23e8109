"""The run, rank and attempt of a process, launcher by launcher."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterable, Mapping

import pytest

from runstream._identity import check_int32, check_run_id, job_of, rank_of, resolve
from runstream._launcher import LaunchEnvironment, process_age_us

TORCHRUN = {"TORCHELASTIC_RUN_ID": "job-7", "RANK": "3", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}
ONE_NODE = {**TORCHRUN, "LOCAL_WORLD_SIZE": "8"}
PLAIN_TORCHRUN = {**ONE_NODE, "TORCHELASTIC_RUN_ID": "none"}
SLURM_JOB = {"SLURM_CLUSTER_NAME": "alps", "SLURM_JOB_ID": "123"}
SRUN = {**SLURM_JOB, "SLURM_STEP_ID": "0", "SLURM_PROCID": "2"}
BY_HAND = {**SRUN, "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}
SBATCH = {**SLURM_JOB, "SLURM_PROCID": "0", "SLURM_STEP_ID": str(0xFFFFFFFB), "ENVIRONMENT": "BATCH"}
SRUN_IN_SBATCH = {**BY_HAND, "ENVIRONMENT": "BATCH"}
OMPI4 = {
    "OMPI_COMM_WORLD_RANK": "5",
    "OMPI_MCA_orte_precondition_transports": "0099b3eaa2c1547e-afb287789133a954",
    "PMIX_NAMESPACE": "1799094273",
    "PMIX_RANK": "5",
}
OMPI5 = {"OMPI_COMM_WORLD_RANK": "1", "PMIX_NAMESPACE": "prterun-node1-4711@1", "PMIX_RANK": "1"}
LIGHTNING = {
    "LOCAL_RANK": "2", "NODE_RANK": "0", "WORLD_SIZE": "4", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "12399",
}  # fmt: skip
PYTORCHJOB = {
    "RANK": "2", "WORLD_SIZE": "4", "MASTER_ADDR": "mnist-master-0", "MASTER_PORT": "23456",
    "KUBERNETES_SERVICE_HOST": "10.96.0.1",
}  # fmt: skip
DEEPSPEED = {**LIGHTNING, "RANK": "2"}
SPAWNED = {"MASTER_ADDR": "localhost", "MASTER_PORT": "12355"}


class FakeLaunch(LaunchEnvironment):
    """A launch that a test describes."""

    def __init__(self, *, group: tuple[int, int] | None = None, child: bool = False, launcher: str = "agent-1") -> None:
        self._group, self._child, self._launcher = group, child, launcher

    def group(self) -> tuple[int, int] | None:
        return self._group

    def is_multiprocessing_child(self) -> bool:
        return self._child

    def kubernetes_namespace(self) -> str:
        return "team-a"

    def launcher_id(self, environ: Mapping[str, str], names: Iterable[str]) -> str:
        return self._launcher


@pytest.mark.parametrize(
    ("environ", "job", "rank"),
    [
        pytest.param({}, None, 0, id="nothing"),
        pytest.param(TORCHRUN, ("torchelastic", "job-7"), 3, id="torchrun on two nodes"),
        pytest.param(ONE_NODE, ("torchrun", "agent-1"), 3, id="torchrun on one node: the id may be a constant"),
        pytest.param(
            {**ONE_NODE, "PET_NNODES": "1:4"}, ("torchelastic", "job-7"), 3, id="torchrun that other nodes may join"
        ),
        pytest.param(PLAIN_TORCHRUN, ("torchrun", "agent-1"), 3, id="torchrun without an id, on one node"),
        pytest.param({**PLAIN_TORCHRUN, "LOCAL_WORLD_SIZE": "4"}, None, 3, id="torchrun without an id, on two nodes"),
        pytest.param(
            {**PLAIN_TORCHRUN, **SPAWNED, "MASTER_ADDR": "node1", "LOCAL_WORLD_SIZE": "4"},
            ("rendezvous", "node1", "12355", "team-a"), 3, id="torchrun without an id, but with a master",
        ),
        pytest.param({**SRUN, **PLAIN_TORCHRUN}, ("torchrun", "agent-1"), 3, id="torchrun in an interactive step"),
        pytest.param(
            {**SRUN_IN_SBATCH, **PLAIN_TORCHRUN}, ("torchrun", "alps", "123", "0", "none"), 3,
            id="srun torchrun in sbatch",
        ),
        pytest.param(
            {**SRUN, **TORCHRUN}, ("torchelastic", "job-7", "alps", "123"), 3, id="torchrun on two nodes, under srun"
        ),
        pytest.param(
            {**SRUN, **PLAIN_TORCHRUN, "LOCAL_WORLD_SIZE": "4"}, ("slurm", "alps", "123", "0"), 3,
            id="torchrun without an id, on two nodes, under srun",
        ),
        pytest.param(SRUN, ("slurm", "alps", "123", "0"), 2, id="srun"),
        pytest.param(BY_HAND, None, 0, id="by hand in an interactive step"),
        pytest.param({**BY_HAND, "PMIX_NAMESPACE": "slurm.pmix.123.0"}, None, 0, id="the same with PMIx"),
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
        pytest.param(LIGHTNING, ("rendezvous on one node", "agent-1", "12399"), 2, id="Lightning"),
        pytest.param(
            {**BY_HAND, **LIGHTNING}, ("rendezvous on one node", "agent-1", "12399"), 2, id="Lightning in a step"
        ),
        pytest.param(DEEPSPEED, ("rendezvous on one node", "agent-1", "12399"), 2, id="DeepSpeed"),
        pytest.param(
            {**DEEPSPEED, "MASTER_ADDR": "10.0.0.7"}, ("rendezvous", "10.0.0.7", "12399", "team-a"), 2,
            id="DeepSpeed on several nodes",
        ),
        pytest.param(PYTORCHJOB, ("rendezvous", "mnist-master-0", "23456", "team-a"), 2, id="PyTorchJob"),
        pytest.param({**PYTORCHJOB, "MASTER_ADDR": "localhost"}, None, 2, id="a PyTorchJob that does not name itself"),
        pytest.param({**SPAWNED, "WORLD_SIZE": "4"}, None, 0, id="a master, but no rank"),
        pytest.param({**LIGHTNING, "WORLD_SIZE": "1"}, None, 2, id="a world of one"),
        pytest.param({"LOCAL_RANK": "1", "NODE_RANK": "2", "LOCAL_WORLD_SIZE": "8"}, None, 17, id="a later node"),
    ],
)  # fmt: skip
def test_the_launcher_names_job_and_rank(environ: dict[str, str], job: tuple[str, ...] | None, rank: int) -> None:
    launch = FakeLaunch()
    assert job_of(environ, launch) == job
    assert rank_of(environ, launch) == rank


def test_ranks_that_a_program_spawned_itself_are_known_by_their_process_group() -> None:
    launch = FakeLaunch(group=(3, 4), child=True)
    assert job_of(SPAWNED, launch) == ("rendezvous on one node", "agent-1", "12355")
    assert rank_of({**SPAWNED, "SLURM_PROCID": "0"}, launch) == 3
    assert job_of(SPAWNED, FakeLaunch(group=(0, 1))) is None


def test_the_same_job_id_on_two_slurm_clusters_is_two_runs() -> None:
    one, other = (
        resolve({**SRUN, "SLURM_CLUSTER_NAME": cluster}, experiment="e", name="n", launch=FakeLaunch())
        for cluster in ("alps", "jura")
    )
    assert one.run_id != other.run_id


def test_ranks_of_one_job_share_a_run_and_other_names_do_not() -> None:
    one = resolve(SRUN, experiment="e", name="n")
    assert one.shared
    assert one == resolve({**SRUN}, experiment="e", name="n")
    assert one.run_id == resolve({**SRUN, "SLURM_PROCID": "7"}, experiment="e", name="n").run_id
    others = {
        resolve(SRUN, experiment=experiment, name=name).run_id
        for experiment, name in (("e", "m"), ("en", ""), ("", "en"), (None, None))
    }
    assert len(others | {one.run_id}) == 5
    assert resolve(SRUN, experiment="e", name="n", run_index=1).run_id != one.run_id


def test_an_explicit_run_id_wins_over_the_environment_and_that_over_the_launcher() -> None:
    given, from_environment = uuid.uuid4(), uuid.uuid4()
    environ = {**SRUN, "RUNSTREAM_RUN_ID": str(from_environment)}
    assert resolve(environ, experiment="e", name="n", run_id=given.hex).run_id == given.hex
    assert resolve(environ, experiment="e", name="n").run_id == from_environment.hex


def test_a_process_on_its_own_gets_a_fresh_run() -> None:
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
        ({"SLURM_RESTART_COUNT": "2", "TORCHELASTIC_RESTART_COUNT": "1", "TORCHELASTIC_MAX_RESTARTS": "3"}, 9),
        ({"SLURM_RESTART_COUNT": "1", "TORCHELASTIC_RESTART_COUNT": "0"}, 1),
    ],
)
def test_restarts_raise_the_attempt(environ: dict[str, str], attempt: int) -> None:
    assert resolve(environ, experiment=None, name=None).attempt == attempt
    assert resolve(environ, experiment=None, name=None, attempt=4).attempt == 4


@pytest.mark.parametrize(
    ("environ", "group"),
    [
        ({"RANK": "1"}, None),
        ({"LOCAL_RANK": "1"}, None),
        ({"WORLD_SIZE": "4"}, None),
        ({"RANK": "0", "WORLD_SIZE": "4"}, None),
        ({}, (0, 2)),
    ],
)
def test_a_rank_without_a_shared_job_is_warned_with_the_variables_to_set(
    environ: dict[str, str], group: tuple[int, int] | None
) -> None:
    launch = FakeLaunch(group=group)
    found = resolve(environ, experiment="e", name="n", launch=launch)
    assert not found.shared
    assert "RUNSTREAM_RUN_ID" in found.warning
    assert not resolve(environ, experiment="e", name="n", rank=1, launch=launch).warning


def test_a_spawned_rank_that_is_not_known_as_one_yet_is_warned_about() -> None:
    def warning(environ: dict[str, str], launch: FakeLaunch, rank: int | None = None) -> str:
        return resolve(environ, experiment="e", name="n", rank=rank, launch=launch).warning

    environ = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    spawned = FakeLaunch(child=True)
    assert "after init_process_group()" in warning(environ, spawned)
    assert not warning(environ, spawned, rank=1)
    assert not warning(environ, FakeLaunch(child=True, group=(1, 2)))
    assert not warning(environ, FakeLaunch(child=True, group=(0, 1)))
    assert not warning({**environ, "WORLD_SIZE": "1"}, spawned)
    assert not warning(environ, FakeLaunch())
    assert not warning({}, spawned)


def test_a_run_id_is_32_hex_digits() -> None:
    assert check_run_id("0123456789ABCDEF0123456789abcdef") == "0123456789abcdef" * 2
    for wrong in ("", "0" * 31, "g" * 32, "0" * 33):
        with pytest.raises(ValueError, match="32 hex digits"):
            check_run_id(wrong)
    with pytest.raises(TypeError):
        check_run_id(7)


def test_a_rank_is_an_int_from_zero() -> None:
    assert check_int32("rank", 3) == 3
    for wrong in (-1, 2**31):
        with pytest.raises(ValueError, match="rank"):
            check_int32("rank", wrong)
    for other in ("1", 1.0, True):
        with pytest.raises(TypeError, match="rank"):
            check_int32("rank", other)


def test_only_an_id_from_the_launcher_is_derived() -> None:
    assert resolve(SRUN, experiment="e", name="n").derived
    assert not resolve({**SRUN, "RUNSTREAM_RUN_ID": uuid.uuid4().hex}, experiment="e", name="n").derived
    assert not resolve(SRUN, experiment="e", name="n", run_id=uuid.uuid4().hex).derived
    assert not resolve({}, experiment="e", name="n").derived


def test_a_process_knows_how_old_it_is() -> None:
    before = process_age_us()
    assert 0 < before <= process_age_us() < 86_400_000_000
    # Started before this line, but not long before the process that runs the tests.
    code = "import time; from runstream._launcher import process_age_us as age; time.sleep(0.5); print(age())"
    age = int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
    assert 450_000 < age < 60_000_000


WHO = "import os, runstream._launcher as l; print(l.LaunchEnvironment().launcher_id(os.environ, ('RANK',)))"

AGENT = (
    f"import os, sys, subprocess; subprocess.run([sys.executable, '-c', {WHO!r}], "
    "env={**os.environ, 'RANK': '0'}, check=True)"
)


def launched(rank: int, *wrapper: str) -> str:
    """What a process calls its launcher, which is this one; perhaps with a wrapper script between them."""
    environ = {**os.environ, "RANK": str(rank)}
    command = [*wrapper, sys.executable, "-c", WHO]
    return subprocess.run(command, env=environ, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_all_ranks_of_a_launcher_call_it_the_same_also_behind_wrapper_scripts() -> None:
    wrapper = ("sh", "-c", '"$@"; exit $?', "wrapper")
    (name,) = {launched(0), launched(1), launched(2, *wrapper), launched(3, *wrapper)}
    assert f"/{os.getpid()}/" in name
    other = subprocess.run([sys.executable, "-c", AGENT], check=True, capture_output=True, text=True)
    assert other.stdout.strip() not in ("", name)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@pytest.mark.parametrize(("nodes", "named"), [("--nnodes=2", True), ("--nnodes=1:4", False), ("--nnodes=2:2", True)])
def test_a_torchrun_that_other_nodes_may_join_does_not_identify_its_launch(nodes: str, named: bool) -> None:
    said = subprocess.run([sys.executable, "-c", AGENT, nodes], check=True, capture_output=True, text=True)
    assert bool(said.stdout.strip()) == named


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@pytest.mark.parametrize(
    ("variables", "itself"),
    [
        pytest.param({"LOCAL_RANK": "0"}, True, id="Lightning's rank 0, which launches the others"),
        pytest.param({"LOCAL_RANK": "0", "RANK": "0"}, False, id="a worker of Ray with Lightning"),
    ],
)
def test_a_process_that_gives_itself_a_rank_is_its_own_launcher_only_with_lightning(
    variables: dict[str, str], itself: str
) -> None:
    code = (
        "import os, sys, types, runstream._launcher as l; sys.modules['lightning'] = types.ModuleType('lightning'); "
        f"os.environ.update({variables!r}); "
        "print(os.getpid(), l.LaunchEnvironment().launcher_id(os.environ, ('RANK', 'LOCAL_RANK')))"
    )
    bare = {key: value for key, value in os.environ.items() if key not in ("RANK", "LOCAL_RANK")}
    said = subprocess.run([sys.executable, "-c", code], env=bare, check=True, capture_output=True, text=True).stdout
    pid, launcher = said.split()
    assert launcher.split("/")[2] == (pid if itself else str(os.getpid()))
