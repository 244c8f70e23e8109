"""Runs a program as a run. The service may be away: what belongs to the run is in this machine's journal."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence

from runstream import _identity, _params_tags, _settings
from runstream._joining import Joining, user_name
from runstream._outer_run import VARIABLE, OuterRun
from runstream.exec import facts
from runstream.exec.child import Child
from runstream.exec.environment import environment
from runstream.mlflow.address import http_url_here
from runstream.run import Run, Status, open_handle

_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # as shells have it
_SIGNALLED = 128
# The run exists before the program asks for it, as MLflow's clients do when they start; they take longer to start than
# a service that is not there may cost.
_WAIT_CREATED_S = 0.3
_OUTPUT = "runstream.output"


def run(
    command: Sequence[str],
    *,
    experiment: str | None = None,
    name: str | None = None,
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    job: str | None = None,
    address: str | None = None,
    quiet: bool = False,
) -> int:
    """Runs a command as a run of its own, and returns its exit status. With `job`, any text, all commands with the same
    one share a run, also on other machines and later. Raises ValueError if an argument is wrong."""
    if not command:
        raise ValueError("which command? runstream exec --experiment digits -- python train.py")
    program = shutil.which(command[0])
    if program is None:
        return _cannot_start(command[0], "no such program")
    environ = dict(os.environ)
    settings = _settings.from_environment(address, environ)
    if settings.mode == "disabled" or VARIABLE in environ:  # nothing is recorded, or by the command around this one
        os.execve(program, list(command), environ)  # noqa: S606 (the user's command)
    good_params, good_tags = _checked("param", params), _checked("tag", tags)
    http_url = http_url_here(settings.address, environ)
    child = Child()
    child.block_signals()
    outer, handle = _start(settings, environ, experiment, name, job)
    if _leads(handle):
        handle.log_params(good_params)
        handle.set_tags({**facts.of_command(command), **good_tags})
    link = f"{http_url}/r/{outer.run_id}"
    if not quiet:
        _say(f"the run is at {link}")
    try:
        child.start([*command], environment(environ, outer, settings.endpoint, http_url))
    except OSError as error:
        handle.finish("FAILED", settings.exit_timeout_s)
        return _cannot_start(command[0], str(error.strerror))
    return _follow(child, handle, link, settings.exit_timeout_s, quiet=quiet)


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m runstream.exec`, for installations of the client alone."""
    parser = argparse.ArgumentParser("python -m runstream.exec", description="Run a program as a run.")
    parser.add_argument("--experiment", help="the run's experiment; default: that of runstream.toml, else Default")
    parser.add_argument("--name", help="the run's name; default: the service makes one up")
    parser.add_argument("--param", action="append", default=[], metavar="KEY=VALUE", help="a param of the run")
    parser.add_argument("--tag", action="append", default=[], metavar="KEY=VALUE", help="a tag of the run")
    parser.add_argument("--job", metavar="ID", help="the same id, the same run: on all nodes, and after a restart")
    parser.add_argument("--address", help="where the service is; default: as for start_run")
    parser.add_argument("--quiet", action="store_true", help="print no link to the run")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND ...")
    parsed = parser.parse_args(arguments)
    command = parsed.command[1:] if parsed.command[:1] == ["--"] else parsed.command
    try:
        return run(
            command,
            experiment=parsed.experiment,
            name=parsed.name,
            params=pairs("--param", parsed.param),
            tags=pairs("--tag", parsed.tag),
            job=parsed.job,
            address=parsed.address,
            quiet=parsed.quiet,
        )
    except ValueError as error:
        _say(str(error))
        return 2


def pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    """Of texts of the form KEY=VALUE. Raises ValueError, which names the option."""
    for text in texts:
        if "=" not in text:
            raise ValueError(f"{option} {text!r}: expected KEY=VALUE")
    return {key: value for key, _, value in (text.partition("=") for text in texts)}


def _start(
    settings: _settings.Settings, environ: Mapping[str, str], experiment: str | None, name: str | None, job: str | None
) -> tuple[OuterRun, Run]:
    """The run, under way into the journal. Ranks of a launcher around us share one, as those of `start_run` do."""
    asked_for = experiment or settings.experiment
    for what, text in (("experiment", asked_for or None), ("name", name)):
        _params_tags.check_name(what, text)
    run_id = _identity.id_of_job(job) if job is not None else None
    identity = _identity.resolve(environ, experiment=asked_for or None, name=name, run_id=run_id)
    joining = Joining.for_new_handle(
        identity, asked_for, name or "", user_name(), settings.address, system_metrics=settings.system_metrics
    )
    handle = open_handle(joining._replace(ends_all_attempts=True), settings)
    handle._recorder.wake()
    if settings.mode == "online":
        recording = handle._recording
        handle._wait(lambda: bool(recording.position.run_state), _WAIT_CREATED_S)
    return OuterRun(handle.run_id, asked_for, name or ""), handle


def _leads(handle: Run) -> bool:
    """Whether this process says what becomes of the run: of several ranks, one does."""
    return handle._recording.joining.ends_run


def _follow(child: Child, handle: Run, link: str, timeout_s: float, *, quiet: bool) -> int:
    """Waits for the program, and ends the run."""
    leads = _leads(handle)
    commit = facts.Commit(handle.set_tags) if leads else None
    begun_s = time.monotonic()
    kept = ""

    def keep_output() -> None:
        nonlocal kept
        text = child.last_lines.text()
        if leads and text and text != kept:
            kept = text
            handle.set_tags({_OUTPUT: text})

    code = child.wait(keep_output)
    seconds = time.monotonic() - begun_s
    child.release_signals()
    status = _status(code, was_signalled=child.was_signalled)
    try:
        keep_output()
        if commit is not None:
            commit.close()
            handle.set_tags({"runstream.exit_status": str(code) if code >= 0 else signal.Signals(-code).name})
        handle.finish(status, timeout_s)
    except KeyboardInterrupt:
        pass  # the user does not want to wait; what is left is in the journal
    if not quiet:
        _say(f"{status} after {seconds:,.1f} s: {link}")
    return code if code >= 0 else _SIGNALLED - code


def _status(code: int, *, was_signalled: bool) -> Status:
    """FINISHED, if the program says so; KILLED, if a signal ended it. Shells report that of their programs as 128 and
    the signal's number."""
    if code == 0:
        return "FINISHED"
    by_signal = code < 0 or code - _SIGNALLED in (signal.SIGINT, signal.SIGKILL, signal.SIGTERM)
    return "KILLED" if by_signal or was_signalled else "FAILED"


def _checked(kind: str, entries: Mapping[str, str] | None) -> dict[str, str]:
    def refuse(error: Exception) -> None:
        raise error

    return _params_tags.validate(kind, entries or {}, refuse)


def _cannot_start(program: str, why: str) -> int:
    _say(f"{program} cannot be started: {why}")
    return _NOT_FOUND if shutil.which(program) is None else _NOT_EXECUTABLE


def _say(text: str) -> None:
    sys.stderr.write(f"runstream: {text}\n")
    sys.stderr.flush()
