"""Starts the agent of a directory from a training process, in a few milliseconds and without waiting for it.

The process that is started here forks twice and ends at once, so that the agent is not a child of the training process:
it does not show up in `ps --ppid`, nothing waits for it, and it gets no signals that are sent to the trainer's group.
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
_TAIL_BYTES = 2_000  # how much of the end of agent.log is read for a message
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
    # These belong to this process only: each journal names the credentials of its writer, and another may have none.
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

    `state` is "running"; "starting": one was started and has not taken the lock yet; or "failed": the last start failed
    because of `reason`, and `failures` starts in a row have. The caller asks again about once a second.
    """

    state: str
    pid: int = 0
    failures: int = 0
    reason: str = ""


class _Launcher:
    """The starts of agents for one directory by this process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.child = 0  # pid of the intermediate process, until it is reaped
        self.exit_code: int | None = None  # of the intermediate process, once it is reaped
        self.started_s = 0.0  # when the last agent was started, by the monotonic clock; 0: none
        self.seen = False  # whether an agent has held the lock since then
        self.failures = 0  # in a row
        self.reason = ""  # of the last failure
        self.not_before_s = 0.0  # when to start the next one, by the monotonic clock


_STABLE_S = 5.0  # an agent that ends sooner has failed
_START_S = 10.0  # an agent that has not taken the lock after this time has failed to start
_launchers: dict[Path, _Launcher] = {}


def ensure_agent(directory: Directory, environ: Mapping[str, str] | None = None) -> AgentState:
    """Starts the directory's agent unless one runs. Takes a few milliseconds. To be called about once a second, by one
    thread: an agent that has died is started again. Never raises."""
    launcher = _launchers.setdefault(directory.path, _Launcher())
    if launcher.pid != os.getpid():  # this process was forked, and the launcher is its parent's
        launcher = _launchers[directory.path] = _Launcher()
    try:
        return _ensure(launcher, directory, os.environ if environ is None else environ)
    except Exception as error:  # whatever it is, training continues
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
        launcher.started_s = 0.0  # it was killed, or ended as it was idle: start another one
    elif launcher.started_s:
        code = launcher.exit_code
        if not launcher.seen and code in (None, 0) and age_s < _START_S:
            return AgentState("starting", 0, launcher.failures, launcher.reason)
        how = f"ended after {age_s:.1f} s" if launcher.seen else f"did not begin to work within {_START_S:.0f} s"
        return _failed(launcher, directory, f"the agent that was started {f'ended with {code}' if code else how}")
    if now_s < launcher.not_before_s:
        return AgentState("failed", 0, launcher.failures, launcher.reason)
    _start(launcher, directory, environ)
    return AgentState("starting", 0, launcher.failures, launcher.reason)


def _start(launcher: _Launcher, directory: Directory, environ: Mapping[str, str]) -> None:
    import subprocess  # here, as the import takes some milliseconds, and most processes never need it

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
            start_new_session=True,  # so that Ctrl-C does not reach it
        )
    launcher.child, launcher.exit_code = process.pid, None
    process.returncode = 0  # `_reap` reaps it; without this, Python would warn at its end that it still runs
    launcher.started_s, launcher.seen = time.monotonic(), False


def _reap(launcher: _Launcher) -> None:
    """Reaps the intermediate process, which ends soon after its start, and keeps its exit status."""
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
    """The file for what the process prints before it writes its own log, such as an error of an import."""
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
    """The path of a Python of this installation. Raises FileNotFoundError if there is none, as in a frozen program or
    one that embeds Python."""
    names = ("python3", f"python{sys.version_info[0]}.{sys.version_info[1]}", "python")
    candidates = [sys.executable or ""]
    for prefix in (sys.exec_prefix, sys.base_exec_prefix):
        candidates += [os.path.join(prefix, "bin", name) for name in names]
    for path in candidates:
        is_python = os.path.basename(path).lower().startswith(("python", "pypy"))
        if is_python and os.access(path, os.X_OK) and not getattr(sys, "frozen", False):
            return path
    raise FileNotFoundError(
        f"the agent cannot be started, as no Python was found (sys.executable is {sys.executable!r}); start it "
        "yourself with `runstream agent`"
    )


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The agent's environment: without accelerators, and with paths on which it finds this runstream."""
    result = {name: value for name, value in environ.items() if name not in _NOT_INHERITED}
    result.update(_NO_ACCELERATORS)
    result["PYTHONPATH"] = os.pathsep.join([*_paths_of_packages(), *filter(None, [environ.get("PYTHONPATH")])])
    result["PYTHONUNBUFFERED"] = "1"
    result["PYTHONWARNINGS"] = "ignore"
    result["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # it never forks, and gRPC's fork handlers cost time
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
