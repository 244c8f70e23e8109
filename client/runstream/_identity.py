"""Determines the run, rank and attempt of this process from its environment and from what the system knows about it.

Launchers are tried in the order in which they nest, innermost first: torchrun inside mpirun or srun, mpirun inside
sbatch. (Inside a Slurm allocation, mpirun starts its daemons with srun, so a rank on a remote node sees SLURM_PROCID
and SLURM_STEP_ID of the daemon: that is why Open MPI is tried before Slurm.)

What all ranks of a job share:

torchrun   On one node, the agent process that started them: TORCHELASTIC_RUN_ID is the value of --rdzv-id, often the
           same in every launch. In a step of a Slurm batch job that step instead, as a requeued job has it again. On
           several nodes, TORCHELASTIC_RUN_ID with Slurm's job; but not "none", the default without --rdzv-id. Then the
           launcher outside of torchrun is tried.
Open MPI   OMPI_MCA_orte_precondition_transports, 128 random bits that mpirun draws for each launch (version 4, and 5
           where it sets it), joined with PMIX_NAMESPACE: in version 5 "prterun-<host>-<pid>@<n>", in version 4 a
           hash of 16 bits, too short on its own.
Slurm      cluster, job id and step id, in a step of several tasks only: commands of a batch script outside of a step,
           and those of an interactive step, are single processes.
PMIx       PMIX_NAMESPACE, for any other PMIx launcher.
others     MASTER_ADDR and MASTER_PORT, where WORLD_SIZE is above 1: Lightning, DeepSpeed, PyTorchJob, mp.spawn. On one
           node with the process that started the ranks.

None of these is certain to be unique, so CreateRun says that the id was derived (see run.proto).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from runstream._launcher import LaunchEnvironment

_NAMESPACE = "5f0cbb2e-90a3-5c0d-9a3b-4d3f6d1d9a51"  # runstream's own; it never changes
_RANKS = ("RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID", "PMIX_RANK", "PMI_RANK")
_SLURM_SPECIAL_STEPS = 0xFFFFFFF0  # batch script, interactive and extern steps count from the top
# The runs of a process that launches its other ranks itself, newest first: "<hash of launcher and name>=<run id> ..."
_LEFT_FOR_RANKS = "RUNSTREAM_RUNS_OF_RANK_0"
_MAX_LEFT = 16  # how many runs the variable keeps: a loop of trainings adds one each time
INT32_MAX = 2**31 - 1
_UNKNOWN_RANK_WARNING = (
    "this process looks like a rank of torch.distributed (multiprocessing started it and MASTER_ADDR is set), but "
    "nothing says yet which rank it is, so every rank makes a run of its own, as rank 0; call start_run() after "
    "init_process_group(), or pass run_id= (the same 32 hex digits for all ranks) and rank="
)


class Identity(NamedTuple):
    """The run, rank and attempt of a handle. `shared`: other processes can determine the same run id. `derived`: it was
    derived from the launcher's job. `warning` is for the log, or empty."""

    run_id: str
    rank: int
    attempt: int
    shared: bool
    derived: bool = False
    warning: str = ""


def resolve(
    environ: Mapping[str, str],
    *,
    experiment: str | None,
    name: str | None,
    run_id: str | None = None,
    rank: int | None = None,
    attempt: int | None = None,
    run_index: int = 0,
    launch: LaunchEnvironment | None = None,
) -> Identity:
    """The identity of one run handle.

    `run_index` counts the runs with the same experiment and name that this process has finished before: a loop of
    trainings in one job makes one run each.
    """
    launch = launch or LaunchEnvironment()
    found_rank = rank if rank is not None else rank_of(environ, launch)
    found_attempt = attempt if attempt is not None else attempt_of(environ)
    explicit = run_id or environ.get("RUNSTREAM_RUN_ID", "").strip()
    if explicit:
        return Identity(check_run_id(explicit), found_rank, found_attempt, shared=True)
    if found_rank > 0 and (of_rank_0 := _left_by_rank_0(environ, launch, experiment, name)):
        return Identity(of_rank_0, found_rank, found_attempt, shared=True)
    job = job_of(environ, launch)
    if job is not None:
        derived_id = _derived_id(job, experiment, name, run_index)
        return Identity(derived_id, found_rank, found_attempt, shared=True, derived=True)
    warning = _warning(environ, launch, found_rank) if rank is None else ""
    return Identity(fresh_id(), found_rank, found_attempt, shared=False, warning=warning)


def _note_for_ranks(
    environ: Mapping[str, str], launch: LaunchEnvironment, experiment: str | None, name: str | None, run_id: str
) -> str:
    """The value of _LEFT_FOR_RANKS with one more run. A process that launches the other ranks later has no job yet when
    it starts its run, and the other ranks run the same program from its beginning."""
    key = _derived_id((launch.own_id(),), experiment, name, 0)
    return " ".join([f"{key}={run_id}", *environ.get(_LEFT_FOR_RANKS, "").split()][:_MAX_LEFT])


def leave_for_ranks(identity: Identity, experiment: str | None, name: str | None) -> None:
    """Leaves a new run in the environment for ranks that this process may start later: Lightning's rank 0 starts the
    other ranks only when it trains."""
    launch = LaunchEnvironment()
    if not identity.shared and identity.rank == 0 and launch.launches_ranks():
        note = _note_for_ranks(os.environ, launch, experiment, name, identity.run_id)
        os.environ[_LEFT_FOR_RANKS] = note


def _left_by_rank_0(
    environ: Mapping[str, str], launch: LaunchEnvironment, experiment: str | None, name: str | None
) -> str | None:
    left = dict(entry.partition("=")[::2] for entry in reversed(environ.get(_LEFT_FOR_RANKS, "").split()))
    launcher = launch.launcher_id(environ, ("RANK", "LOCAL_RANK")) if left else ""
    return left.get(_derived_id((launcher,), experiment, name, 0)) if launcher else None


def check_run_id(run_id: object) -> str:
    """Returns a run id in its plain form: 32 hex digits in lower case, without dashes. Raises TypeError or ValueError
    for anything else than 32 hex digits with or without dashes."""
    if not isinstance(run_id, str):
        raise TypeError(f"run_id must be a string of 32 hex digits, not {type(run_id).__name__}")
    plain = run_id.strip().replace("-", "").lower()
    if len(plain) != 32 or not set(plain) <= set("0123456789abcdef"):
        raise ValueError(f"run_id {run_id!r}: expected 32 hex digits")
    return plain


def check_int32(name: str, value: object) -> int | None:
    """Returns a rank or an attempt: an int from 0 that fits into 32 bits; None stays None. Raises TypeError or
    ValueError."""
    if value is None:
        return None
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    number = int(value.__index__())  # type: ignore[attr-defined]
    if not 0 <= number <= INT32_MAX:
        raise ValueError(f"{name} must be between 0 and {INT32_MAX}, not {number}")
    return number


def rank_of(environ: Mapping[str, str], launch: LaunchEnvironment | None = None) -> int:
    """The rank of this process, from torch.distributed or the launcher's variables; 0 if nothing names one."""
    group = (launch or LaunchEnvironment()).group()
    if group is not None and group[1] > 1:
        return group[0]
    # In a step of one task, SLURM_PROCID is 0 for all processes that this task starts.
    names = _RANKS if _shared_step(environ) else tuple(name for name in _RANKS if name != "SLURM_PROCID")
    found = _first_int(environ, names)
    return found if found is not None else _rank_on_its_node(environ)


def attempt_of(environ: Mapping[str, str]) -> int:
    """How often the job was restarted. Requeueing a Slurm job resets torchrun's count, so the two are combined."""
    explicit = _int(environ, "RUNSTREAM_ATTEMPT")
    if explicit is not None:
        return explicit
    requeued = _int(environ, "SLURM_RESTART_COUNT") or 0
    restarted = _int(environ, "TORCHELASTIC_RESTART_COUNT")
    if restarted is None:
        return requeued
    most = max(_int(environ, "TORCHELASTIC_MAX_RESTARTS") or 0, restarted)
    return min(INT32_MAX, requeued * (most + 1) + restarted)


def job_of(environ: Mapping[str, str], launch: LaunchEnvironment | None = None) -> tuple[str, ...] | None:
    """Values that identify the launch in all of its ranks, the launcher first; None if there are none."""
    launch = launch or LaunchEnvironment()
    if torchrun := _torchrun_job(environ, launch):
        return torchrun
    namespace = environ.get("PMIX_NAMESPACE", "").strip()
    if environ.get("OMPI_COMM_WORLD_RANK", "").strip():
        key = environ.get("OMPI_MCA_orte_precondition_transports", "").strip()
        if key or namespace:
            return ("openmpi", key, namespace)
    if step := _shared_step(environ):
        return ("slurm", *step)
    if namespace and not _slurm_step(environ):
        return ("pmix", namespace)
    return _rendezvous_job(environ, launch)


def _torchrun_job(environ: Mapping[str, str], launch: LaunchEnvironment) -> tuple[str, ...] | None:
    rendezvous_id = environ.get("TORCHELASTIC_RUN_ID", "").strip()
    if not rendezvous_id:
        return None
    if _is_on_one_node(environ) and not _may_grow(environ):
        step = _slurm_step(environ)
        if step and environ.get("ENVIRONMENT") == "BATCH":
            return ("torchrun", *step, rendezvous_id)
        if launcher := launch.launcher_id(environ, ("TORCHELASTIC_RUN_ID",)):
            return ("torchrun", launcher)
    # Only the job of Slurm is used: each node may have its own step.
    return ("torchelastic", rendezvous_id, *_slurm_job(environ)) if rendezvous_id != "none" else None


def _rendezvous_job(environ: Mapping[str, str], launch: LaunchEnvironment) -> tuple[str, ...] | None:
    address, port = environ.get("MASTER_ADDR", "").strip(), environ.get("MASTER_PORT", "").strip()
    ranked = launch.group() is not None or _int(environ, "RANK") is not None or _int(environ, "LOCAL_RANK") is not None
    if not address or not port or not ranked or _world_size(environ, launch) <= 1:
        return None
    if not _is_loopback(address) and not _is_on_one_node(environ):
        return ("rendezvous", address, port, launch.kubernetes_namespace(), *_slurm_job(environ))
    # The master of a PyTorchJob may have MASTER_ADDR "localhost", while its workers have its name.
    in_pod = environ.get("KUBERNETES_SERVICE_HOST") and not launch.is_multiprocessing_child()
    if in_pod and _int(environ, "LOCAL_RANK") is None and not _is_on_one_node(environ):
        return None
    launcher = launch.launcher_id(environ, ("RANK", "LOCAL_RANK"))
    return ("rendezvous on one node", launcher or os.uname().nodename, port)


def _warning(environ: Mapping[str, str], launch: LaunchEnvironment, rank: int) -> str:
    size = _world_size(environ, launch)
    if rank == 0 and size <= 1:
        return _UNKNOWN_RANK_WARNING if _may_become_a_rank(environ, launch) else ""
    which = f"rank {rank}" + (f" of {size}" if size > rank else "")
    return (
        f"this process is {which}, but nothing in its environment identifies the job of all ranks, so every rank makes "
        "a run of its own; set RUNSTREAM_RUN_ID to the same 32 hex digits for all ranks, and RANK for each, or pass "
        "run_id= and rank= to start_run()"
    )


def _may_become_a_rank(environ: Mapping[str, str], launch: LaunchEnvironment) -> bool:
    """Whether torch.multiprocessing probably started this process, and torch.distributed is not set up yet."""
    has_master = environ.get("MASTER_ADDR", "").strip() and environ.get("MASTER_PORT", "").strip()
    known = launch.group() is not None or _first_int(environ, (*_RANKS, "LOCAL_RANK", "WORLD_SIZE")) is not None
    return bool(has_master and not known and launch.is_multiprocessing_child())


def _rank_on_its_node(environ: Mapping[str, str]) -> int:
    """LOCAL_RANK, plus the ranks of the nodes before if the number of ranks per node is known."""
    local = _int(environ, "LOCAL_RANK") or 0
    node = _first_int(environ, ("NODE_RANK", "GROUP_RANK")) or 0
    return min(INT32_MAX, node * (_int(environ, "LOCAL_WORLD_SIZE") or 0) + local)


def _world_size(environ: Mapping[str, str], launch: LaunchEnvironment) -> int:
    group = launch.group()
    return group[1] if group is not None else _int(environ, "WORLD_SIZE") or 0


def _is_on_one_node(environ: Mapping[str, str]) -> bool:
    size = _int(environ, "WORLD_SIZE")
    return size is not None and size == _int(environ, "LOCAL_WORLD_SIZE")


def _may_grow(environ: Mapping[str, str]) -> bool:
    """Whether other nodes may join this torchrun later, by its variables; launcher_id checks its command line."""
    least, between, most = environ.get("PET_NNODES", "").strip().partition(":")
    return bool(between) and least != most


def _is_loopback(address: str) -> bool:
    return address in ("localhost", "::1") or address.startswith(("127.", "localhost."))


def _slurm_step(environ: Mapping[str, str]) -> tuple[str, str, str] | None:
    """Cluster, job and step, in a step."""
    job = _slurm_job(environ)
    step = environ.get("SLURM_STEP_ID", environ.get("SLURM_STEPID", "")).strip()
    if not job or not step.isdecimal() or int(step) >= _SLURM_SPECIAL_STEPS:
        return None
    return (*job, step)


def _shared_step(environ: Mapping[str, str]) -> tuple[str, str, str] | None:
    """The step, unless it is known to have only one task."""
    return None if _int(environ, "SLURM_STEP_NUM_TASKS") == 1 else _slurm_step(environ)


def _slurm_job(environ: Mapping[str, str]) -> tuple[str, str] | tuple[()]:
    """Cluster and job: jobs of two clusters may have the same number."""
    job = environ.get("SLURM_JOB_ID", "").strip()
    return (environ.get("SLURM_CLUSTER_NAME", "").strip(), job) if job else ()


def _first_int(environ: Mapping[str, str], names: tuple[str, ...]) -> int | None:
    return next((number for name in names if (number := _int(environ, name)) is not None), None)


def _int(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "").strip()
    return int(text) if text.isdecimal() and int(text) <= INT32_MAX else None


def _derived_id(job: tuple[str, ...], experiment: str | None, name: str | None, run_index: int) -> str:
    # Length prefixes keep ("a", "b/c") and ("a/b", "c") apart.
    parts = [*job, experiment or "", name or "", *([str(run_index)] if run_index else [])]
    import uuid  # here, since few programs need it, and it takes long to import

    return uuid.uuid5(uuid.UUID(_NAMESPACE), "".join(f"{len(part)}:{part}" for part in parts)).hex


def id_of_job(job: str) -> str:
    """The run id of a job that its platform names: the same text gives the same id. Raises ValueError if it is empty.
    Used for `runstream exec --job`."""
    if not job.strip():
        raise ValueError("--job is empty: the variable that should hold the job's id may be unset")
    return _derived_id(("job", job.strip()), None, None, 0)


def fresh_id() -> str:
    """32 random hex digits."""
    return os.urandom(16).hex()
