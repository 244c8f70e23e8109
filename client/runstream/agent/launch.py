"""Starts the agent of a directory from a training process, in a few milliseconds and without waiting for it.

The process that is started here forks twice and is gone at once, so that the agent is no child of the training process:
it does not show up in `ps --ppid`, is not waited for, and gets no signal that is meant for the trainer's group.
"""

from __future__ import annotations

import contextlib
import os
import site
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NamedTuple

from runstream.journal import Directory

# The wait before another start, after the first, second, third and every further failure in a row.
_WAITS_S = (2.0, 5.0, 15.0, 60.0)
_TAIL_BYTES = 2_000
# An agent needs no accelerator, and a context on one takes memory that the training needs.
_NO_ACCELERATORS = dict.fromkeys(
    (
        "CUDA_VISIBLE_DEVICES",
        "HIP_VISIBLE_DEVICES",
        "ROCR_VISIBLE_DEVICES",
        "GPU_DEVICE_ORDINAL",
        "ASCEND_RT_VISIBLE_DEVICES",
        "ASCEND_VISIBLE_DEVICES",
        "ZE_AFFINITY_MASK",
        "TPU_VISIBLE_CHIPS",
        "NEURON_RT_VISIBLE_CORES",
        "HABANA_VISIBLE_DEVICES",
    ),
    "",
)
# Variables of the training process that would make the agent behave in another way, or be taken for a rank of the job.
_NOT_INHERITED = (
    "LD_PRELOAD",
    "PYTHONSTARTUP",
    "PYTHONINSPECT",
    "PYTHONDEVMODE",
    "PYTHONFAULTHANDLER",
    "COVERAGE_PROCESS_START",
    # Of this process alone: each journal names the credentials of its writer, and another writer may have none.
    "RUNSTREAM_TOKEN",
    "RUNSTREAM_TOKEN_FILE",
    "RUNSTREAM_WORKSPACE",
    "RUNSTREAM_TLS_CA",
    "RUNSTREAM_TLS_CERT",
    "RUNSTREAM_TLS_KEY",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_PASSWORD",
)


class AgentState(NamedTuple):
    """Whether an agent runs for a directory.

    `state` is "running"; "starting": one was started and has not taken the lock yet; "failed": the last start did not
    lead to an agent, for `reason`, after `failures` of them in a row. The caller calls again every second or so.
    """

    state: str
    pid: int = 0
    failures: int = 0
    reason: str = ""


class _Launcher:
    """The starts for one directory, by this process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.child = 0  # the process in between, until it is reaped
        self.exit_code: int | None = None  # its, once it is reaped
        self.started_s = 0.0
        self.seen = False  # an agent has run since
        self.failures = 0
        self.reason = ""
        self.not_before_s = 0.0


_STABLE_S = 5.0  # an agent that ends sooner has failed
_START_S = 10.0  # an agent that has not taken the lock after this time has not come up
_launchers: dict[Path, _Launcher] = {}


def ensure_agent(directory: Directory, environ: Mapping[str, str] | None = None) -> AgentState:
    """Starts the directory's agent unless one runs. Takes some milliseconds; to be called every second or so, by one
    thread: an agent that dies is started again. Never raises."""
    launcher = _launchers.setdefault(directory.path, _Launcher())
    if launcher.pid != os.getpid():  # forked: the child that the parent waits for is not ours
        launcher = _launchers[directory.path] = _Launcher()
    try:
        return _ensure(launcher, directory, os.environ if environ is None else environ)
    except Exception as error:  # whatever happens, training continues
        return _failed(launcher, directory, f"{type(error).__name__}: {error}")


def _ensure(launcher: _Launcher, directory: Directory, environ: Mapping[str, str]) -> AgentState:
    _reap(launcher)
    now_s = time.monotonic()
    age_s = now_s - launcher.started_s
    if directory.agent_runs():
        launcher.seen = True
        if age_s > _STABLE_S:
            launcher.failures, launcher.reason = 0, ""
        return AgentState("running", directory.agent_pid())
    if launcher.started_s and launcher.seen and age_s > _STABLE_S:
        launcher.started_s = 0.0  # it was killed, or had nothing to do: another one
    elif launcher.started_s:
        code = launcher.exit_code
        if not launcher.seen and code in (None, 0) and age_s < _START_S:
            return AgentState("starting", 0, launcher.failures, launcher.reason)
        how = f"ended after {age_s:.1f} s" if launcher.seen else "did not come up"
        return _failed(launcher, directory, f"the agent that was started {f'ended with {code}' if code else how}")
    if now_s < launcher.not_before_s:
        return AgentState("failed", 0, launcher.failures, launcher.reason)
    _start(launcher, directory, environ)
    return AgentState("starting", 0, launcher.failures, launcher.reason)


def _start(launcher: _Launcher, directory: Directory, environ: Mapping[str, str]) -> None:
    import subprocess  # takes some milliseconds, and most processes never get here

    command = [python_executable(), "-m", "runstream.agent", "run", "--detach", "--dir", str(directory.path)]
    with _log_file(directory) as log:
        process = subprocess.Popen(  # noqa: S603 (the command is made of our own parts)
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            cwd="/",
            env=environment(environ),
            close_fds=True,
            start_new_session=True,  # a Ctrl-C is not meant for it
        )
    launcher.child, launcher.exit_code = process.pid, None
    process.returncode = 0  # it is reaped by `_reap`; else Python would warn at the end that it was not
    launcher.started_s, launcher.seen = time.monotonic(), False


def _reap(launcher: _Launcher) -> None:
    """Takes the exit status of the process in between, which is gone soon after its start."""
    if launcher.child:
        try:
            pid, status = os.waitpid(launcher.child, os.WNOHANG)
        except ChildProcessError:  # the program waits for all of its children, or ignores SIGCHLD
            pid, status = launcher.child, 0
        if pid:
            launcher.child, launcher.exit_code = 0, os.waitstatus_to_exitcode(status)


def _failed(launcher: _Launcher, directory: Directory, why: str) -> AgentState:
    launcher.reason = f"{why}{log_tail(directory)}"
    launcher.not_before_s = time.monotonic() + _WAITS_S[min(launcher.failures, len(_WAITS_S) - 1)]
    launcher.failures += 1
    launcher.started_s = 0.0
    return AgentState("failed", 0, launcher.failures, launcher.reason)


def _log_file(directory: Directory) -> IO[bytes]:
    """What the process prints before it has a log of its own, such as an import that fails."""
    return open(directory.agent_log_path, "ab")


def log_tail(directory: Directory) -> str:
    """The last lines of agent.log, for a message; empty if there are none."""
    with contextlib.suppress(OSError), open(directory.agent_log_path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
        lines = file.read().decode(errors="replace").strip().splitlines()
        if lines:
            return "; the end of " + str(directory.agent_log_path) + ": " + " | ".join(lines[-3:])
    return ""


def python_executable() -> str:
    """A Python of this installation. FileNotFoundError if there is none: the program may be frozen, or embed Python."""
    names = ("python3", f"python{sys.version_info[0]}.{sys.version_info[1]}", "python")
    candidates = [sys.executable or ""]
    for prefix in (sys.exec_prefix, sys.base_exec_prefix):
        candidates += [os.path.join(prefix, "bin", name) for name in names]
    for path in candidates:
        is_python = os.path.basename(path).lower().startswith(("python", "pypy"))
        if is_python and os.access(path, os.X_OK) and not getattr(sys, "frozen", False):
            return path
    raise FileNotFoundError(
        f"no Python is known to start the agent with (sys.executable is {sys.executable!r}); start it yourself: "
        "runstream agent"
    )


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The agent's environment: without accelerators, and so that it finds this runstream."""
    result = {name: value for name, value in environ.items() if name not in _NOT_INHERITED}
    result.update(_NO_ACCELERATORS)
    result["PYTHONPATH"] = os.pathsep.join([*_paths_of_packages(), *filter(None, [environ.get("PYTHONPATH")])])
    result["PYTHONUNBUFFERED"] = "1"
    result["PYTHONWARNINGS"] = "ignore"
    result["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # it never forks, and the handlers cost
    result["MALLOC_ARENA_MAX"] = "2"  # glibc reserves an arena for each thread
    return result


def _paths_of_packages() -> list[str]:
    """The directories of runstream, gRPC and protobuf that are not on the default path of a new Python. (With the whole
    sys.path of the program, modules of the program could hide those that the agent needs.)"""
    import importlib.util

    usual = {os.path.realpath(path) for path in (*site.getsitepackages(), site.getusersitepackages())}
    paths = [str(Path(__file__).resolve().parents[2])]
    for name in ("grpc", "google.protobuf"):
        with contextlib.suppress(ImportError, ValueError, AttributeError):
            spec = importlib.util.find_spec(name)
            if spec is not None and spec.origin:
                paths.append(str(Path(spec.origin).parents[name.count(".") + 1]))
    return list(dict.fromkeys(path for path in paths if os.path.realpath(path) not in usual))
