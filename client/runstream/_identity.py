"""Which run, rank and attempt this process is: pure functions over the environment.

The process that started us is asked in the order in which launchers nest, innermost first: torchrun inside mpirun or
srun, mpirun inside sbatch. (Inside a Slurm allocation mpirun starts its daemons with srun, so on remote nodes a rank
sees the daemon's SLURM_PROCID and SLURM_STEP_ID: that is why Open MPI is asked before Slurm.)

What all ranks of a job share:

torchrun   TORCHELASTIC_RUN_ID, unless it is "none", the default of torchrun without --rdzv-id. Then the launcher
           outside of it is asked, and if there is none and all ranks are on this node, the agent process that
           started them.
Open MPI   OMPI_MCA_orte_precondition_transports, 128 random bits that mpirun draws for each launch (version 4, and 5
           where it sets it), joined with PMIX_NAMESPACE: in version 5 "prterun-<host>-<pid>@<n>", in version 4 a
           hash of 16 bits, too short on its own.
Slurm      job id and step id, in a step only: a batch script's commands outside of a step are single processes, and
           a loop of them must not share one run.
PMIx       PMIX_NAMESPACE, for any other PMIx launcher.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_NAMESPACE = uuid.UUID("5f0cbb2e-90a3-5c0d-9a3b-4d3f6d1d9a51")  # ours, once and for all
_RANKS = ("RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID", "PMIX_RANK", "PMI_RANK")
_ATTEMPTS = ("RUNSTREAM_ATTEMPT", "TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT")
_SLURM_SPECIAL_STEPS = 0xFFFFFFF0  # batch script, interactive and extern steps count from the top
INT32_MAX = 2**31 - 1


@dataclass(frozen=True)
class Identity:
    """`shared` is True if other processes can come to the same run id; `warning` is empty or for the log."""

    run_id: str
    rank: int
    attempt: int
    shared: bool
    warning: str = ""


def resolve(
    environ: Mapping[str, str],
    *,
    experiment: str | None,
    name: str | None,
    run_id: str | None = None,
    rank: int | None = None,
    attempt: int | None = None,
    ordinal: int = 0,
    agent: Callable[[], str] = lambda: "",
) -> Identity:
    """The identity of one run handle.

    `ordinal` counts the runs with the same experiment and name that this process has finished before: a loop of
    trainings in one job makes one run each. `agent` names the parent process, uniquely in time; "" if it cannot.
    """
    found_rank = rank if rank is not None else rank_of(environ)
    found_attempt = attempt if attempt is not None else _first_int(environ, _ATTEMPTS)
    given = run_id or environ.get("RUNSTREAM_RUN_ID", "").strip()
    if given:
        return Identity(check_run_id(given), found_rank, found_attempt, shared=True)
    job = job_of(environ, agent)
    if job is not None:
        return Identity(_derived(job, experiment, name, ordinal), found_rank, found_attempt, shared=True)
    warning = ""
    if rank is None and found_rank > 0:
        warning = (
            f"this process is rank {found_rank}, but nothing in its environment names the job, so that every rank "
            "makes a run of its own; set RUNSTREAM_RUN_ID to the same 32 hex digits for all ranks"
        )
    return Identity(uuid.uuid4().hex, found_rank, found_attempt, shared=False, warning=warning)


def check_run_id(run_id: object) -> str:
    """32 hex digits, dashes allowed; answers them in lower case without dashes."""
    if not isinstance(run_id, str):
        raise TypeError(f"run_id must be a string of 32 hex digits, not {type(run_id).__name__}")
    plain = run_id.strip().replace("-", "").lower()
    if len(plain) != 32 or not set(plain) <= set("0123456789abcdef"):
        raise ValueError(f"run_id {run_id!r}: expected 32 hex digits")
    return plain


def check_int32(name: str, value: object) -> int | None:
    """A rank or an attempt: an int from 0; None stays None."""
    if value is None:
        return None
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    number = int(value.__index__())  # type: ignore[attr-defined]
    if not 0 <= number <= INT32_MAX:
        raise ValueError(f"{name} must be between 0 and {INT32_MAX}, not {number}")
    return number


def rank_of(environ: Mapping[str, str]) -> int:
    """The rank that the launcher gave this process; 0 if there is no launcher."""
    names = _RANKS if _slurm_step(environ) else tuple(name for name in _RANKS if name != "SLURM_PROCID")
    return _first_int(environ, names)


def job_of(environ: Mapping[str, str], agent: Callable[[], str] = lambda: "") -> tuple[str, ...] | None:
    """What names the launch for all of its ranks, launcher first; None if nothing does."""
    elastic = environ.get("TORCHELASTIC_RUN_ID", "").strip()
    if elastic and elastic != "none":
        return ("torchelastic", elastic)
    namespace = environ.get("PMIX_NAMESPACE", "").strip()
    if environ.get("OMPI_COMM_WORLD_RANK", "").strip():
        key = environ.get("OMPI_MCA_orte_precondition_transports", "").strip()
        if key or namespace:
            return ("openmpi", key, namespace)
    step = _slurm_step(environ)
    if step:
        return ("slurm", *step)
    if namespace:
        return ("pmix", namespace)
    one_node = environ.get("LOCAL_WORLD_SIZE") == environ.get("WORLD_SIZE")
    if elastic == "none" and one_node and (token := agent()):
        return ("torchrun", token)
    return None


def _slurm_step(environ: Mapping[str, str]) -> tuple[str, str] | None:
    job = environ.get("SLURM_JOB_ID", "").strip()
    step = environ.get("SLURM_STEP_ID", environ.get("SLURM_STEPID", "")).strip()
    if not job or not step.isdecimal() or int(step) >= _SLURM_SPECIAL_STEPS:
        return None
    return (job, step)


def _first_int(environ: Mapping[str, str], names: tuple[str, ...]) -> int:
    for name in names:
        text = environ.get(name, "").strip()
        if text.isdecimal() and int(text) <= INT32_MAX:
            return int(text)
    return 0


def _derived(job: tuple[str, ...], experiment: str | None, name: str | None, ordinal: int) -> str:
    # Length prefixes keep ("a", "b/c") and ("a/b", "c") apart.
    parts = [*job, experiment or "", name or "", *([str(ordinal)] if ordinal else [])]
    return uuid.uuid5(_NAMESPACE, "".join(f"{len(part)}:{part}" for part in parts)).hex
