"""Python programs in processes of their own that need not import their modules again.

A test that starts `runstream serve` or an MLflow script pays one to five seconds of processor time for imports, before
anything that it is about happens. So each process of pytest starts a helper, once for each set of modules, which
imports them and then forks: the fork gets the arguments, the environment, the directory and the open files of the
program, and runs it as `__main__`. From there on it is like a process that was started afresh.

What differs: its parent is the helper, `/proc/PID/cmdline` is that of the helper, and what modules read from the
environment while they are imported is that of the helper. At its end, threads are awaited, the functions of atexit are
called and files are flushed, but Python is not taken apart: that would write to each imported object, and so copy its
page (0.04 to 0.2 s of processor time). Where a test is about one of these, it uses `subprocess`.

    test: Preloaded(...)          helper: serve_forks()          program
    open files, a socket    ->    fork                      ->    reads its request from that socket
                            <-    its process id
                            <-    its exit status

Run as a module, this is the helper: `python -m tests.support.preloaded SOCKET MODULE ...`.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import importlib.util
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn

_ROOT = Path(__file__).resolve().parents[2]

# What the service and the commands of both distributions import.
RUNSTREAM = (
    "runstream.commands.points",
    "runstream.commands.runs",
    "runstream_service.commands.access",
    "runstream_service.commands.access_calls",
    "runstream_service.commands.database",
    "runstream_service.commands.importing",
    "runstream_service.commands.service",
    "runstream_service.server.supervisor",
)
# What a script of MLflow's users imports.
MLFLOW = ("mlflow", "mlflow.sklearn", "matplotlib.pyplot", "pandas", "sklearn.linear_model", "runstream_mlflow")

# What the commands set before they import gRPC, which reads it then.
_SET_BY_COMMANDS = {"GRPC_ENABLE_FORK_SUPPORT": "false"}
# Variables of Python, protobuf and gRPC, and the choice of the plugin for MLflow's client.
_READ_EARLY = (
    "PYTHON",
    "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=",
    "GRPC_ENABLE_FORK_SUPPORT=",
    "RUNSTREAM_MLFLOW_HTTP=",
)
# Of Arrow's allocator, which starts it again after a fork.
_SAFE_THREADS = ("jemalloc_bg_thd",)


class Preloaded(subprocess.Popen[str]):
    """`subprocess.Popen` for `[sys.executable, ("-m" MODULE | "-c" CODE | FILE), ...]`, with text streams.

    Only what a process is started with and how one waits for it is replaced.
    """

    def __init__(
        self, command: Sequence[str | Path], env: Mapping[str, str], *, modules: Sequence[str] = RUNSTREAM, **files: Any
    ) -> None:
        """`modules`: imported already. `files`: stdin, stdout, stderr and cwd, as for Popen."""
        self._program = [os.fspath(word) for word in command]
        assert self._program[0] == sys.executable, command
        self._helper = Helper.of(tuple(modules), env)
        super().__init__(self._program, env=dict(env), text=True, **files)

    def _execute_child(self, *arguments: Any) -> None:
        """In place of fork and exec. The order of the arguments is the same in Python 3.11 to 3.14."""
        cwd, env = arguments[5:7]
        pipes = arguments[10:16]  # stdin, stdout and stderr: for each, the end to read from and the end to write to
        theirs = (pipes[0], pipes[3], pipes[5])
        request = {"program": self._program[1:], "env": env, "cwd": os.fspath(cwd or Path.cwd())}
        try:
            self._status = self._helper.fork(request, [own if fd == -1 else fd for own, fd in enumerate(theirs)])
            self.pid = int(self._status.readline())
        finally:
            self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]
        self._child_created = True

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        """As os.waitpid, which works for one's own children only."""
        if wait_flags & os.WNOHANG and not _readable(self._status.fileno()):
            return 0, 0
        with self._status:
            line = self._status.readline()
        return self.pid, int(line or 255 << 8)  # the helper was killed: unknown

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        lock: threading.Lock = self._waitpid_lock  # type: ignore[attr-defined]
        if self.returncode is None and self._child_created and lock.acquire(blocking=False):
            try:
                pid, status = self._try_wait(os.WNOHANG)
                if pid == self.pid:
                    self._handle_exitstatus(status)  # type: ignore[attr-defined]
            finally:
                lock.release()
        return self.returncode


def run(
    command: Sequence[str | Path],
    env: Mapping[str, str],
    *,
    modules: Sequence[str] = RUNSTREAM,
    cwd: Path | None = None,
    text_input: str = "",
    timeout_s: float = 250,
) -> subprocess.CompletedProcess[str]:
    """`subprocess.run` that captures what is printed. Raises subprocess.TimeoutExpired, after it has killed it."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with Preloaded(command, env, modules=modules, cwd=cwd, **pipes) as process:
        try:
            out, err = process.communicate(text_input, timeout=timeout_s)
        except BaseException:
            process.kill()
            raise
        return subprocess.CompletedProcess(command, process.returncode, out, err)


class Helper:
    """The process that forks, as its user sees it."""

    _started: ClassVar[dict[tuple[object, ...], Helper]] = {}

    def __init__(self, modules: tuple[str, ...], env: Mapping[str, str]) -> None:
        self._requests, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.preloaded", str(theirs.fileno()), *modules],
                cwd=_ROOT,
                env={**env, "OPENBLAS_NUM_THREADS": "1"},  # its threads would not be in the forks
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )

    @classmethod
    def of(cls, modules: tuple[str, ...], env: Mapping[str, str]) -> Helper:
        """The one for these modules, and for what Python and they read from the environment before a program begins."""
        if modules == RUNSTREAM:
            env = {**_SET_BY_COMMANDS, **env}
        read = ((name, value) for name, value in env.items() if value and f"{name}=".startswith(_READ_EARLY))
        key = (modules, tuple(sorted(read)), os.getpid())
        if key not in cls._started:
            cls._started[key] = cls(modules, env)
        return cls._started[key]

    def fork(self, request: Mapping[str, object], files: Sequence[int]) -> Any:
        """A file from which the process id and then, once it has ended, the exit status can be read, a line each."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                socket.send_fds(self._requests, [b"."], [theirs.fileno(), *files])
            ours.sendall(json.dumps(request).encode() + b"\n")
            return ours.makefile("rb", buffering=0)


def _readable(fd: int) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        return bool(selector.select(0))


# -- in the helper -----------------------------------------------------------------------------------------------------


def serve_forks(requests: socket.socket) -> dict[str, Any]:
    """Forks for each request. Returns in the forks, with what each is to run; the helper itself ends with its user."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for pytest, which then ends the programs
    wake, woken = socket.socketpair()
    woken.setblocking(False)
    wake.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken.fileno())
    running: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        selector.register(wake, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if wake in ready:
                wake.recv(4096)
                _report_ended(running)
            if requests not in ready:
                continue
            message, files, _, _ = socket.recv_fds(requests, 1, 4)
            if not message:
                os._exit(0)
            status = socket.socket(fileno=files[0])
            pid = os.fork()
            if pid == 0:
                break
            for fd in files[1:]:
                os.close(fd)
            _tell(status, pid)
            running[pid] = status
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for open_socket in (wake, woken, *running.values()):
        open_socket.close()
    for standard, fd in enumerate(files[1:]):
        os.dup2(fd, standard)
        os.close(fd)
    with status, status.makefile("rb") as file:
        request: dict[str, Any] = json.loads(file.readline())
    return request


def _report_ended(running: dict[int, socket.socket]) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            with running.pop(pid) as waits:
                _tell(waits, status)


def _tell(status: socket.socket, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
        status.sendall(b"%d\n" % number)


def become(request: Mapping[str, Any]) -> tuple[types.CodeType, dict[str, Any]]:
    """What Python does when it starts a program: the streams, the environment, the path, `__main__`."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", buffering=1 if os.isatty(1) else -1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    first, *others = request["program"]
    main = types.ModuleType("__main__")
    if first == "-c":
        source, *others = others
        code, directory = compile(source, "<string>", "exec"), ""
        sys.argv = ["-c", *others]
    elif first == "-m":
        name, *others = others
        main.__spec__ = spec = _spec_of_main(name)
        main.__package__, main.__file__ = spec.parent, spec.origin
        code, directory = spec.loader.get_code(spec.name), request["cwd"]
        sys.argv = [str(spec.origin), *others]
    else:
        path = Path(first)
        code, directory = compile(path.read_bytes(), first, "exec"), str(path.absolute().parent)
        main.__file__ = first
        sys.argv = [first, *others]
    sys.orig_argv = [sys.executable, *request["program"]]
    sys.path[0] = directory
    sys.modules["__main__"] = main
    return code, main.__dict__


def _spec_of_main(name: str) -> Any:
    """Of a module, or of a package's `__main__`."""
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.submodule_search_locations is not None:
        spec = importlib.util.find_spec(f"{name}.__main__")
    if spec is None:
        raise ModuleNotFoundError(f"no module {name}")
    return spec


def _import(modules: Sequence[str]) -> None:
    for module in modules:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # a collection would write to each object, and so copy its page in each fork
    threads = [Path(f"/proc/self/task/{task}/comm").read_text().strip() for task in os.listdir("/proc/self/task")]
    if lost := [name for name in threads[1:] if name not in _SAFE_THREADS]:
        raise RuntimeError(f"the imports started threads, which the forks would not have: {lost}")


def run_to_its_end(code: types.CodeType, variables: dict[str, Any]) -> NoReturn:
    """Runs the program, lets happen what it wants to happen at its end, and leaves with its exit status."""
    status = _run(code, variables)
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status & 0xFF)


def _run(code: types.CodeType, variables: dict[str, Any]) -> int:
    try:
        exec(code, variables)
        status = 0
    except SystemExit as error:
        status = _status_of(error)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = -signal.SIGINT if isinstance(sys.exc_info()[1], KeyboardInterrupt) else 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(ValueError, OSError):  # closed by the program, or nobody reads any more
            stream.flush()
    return status


def _status_of(error: SystemExit) -> int:
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    print(error.code, file=sys.stderr)
    return 1


if __name__ == "__main__":
    _import(sys.argv[2:])
    with socket.socket(fileno=int(sys.argv[1])) as _requests:
        _request = serve_forks(_requests)
    _code, _globals = become(_request)
    run_to_its_end(_code, _globals)
