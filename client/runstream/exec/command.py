"""Runs a program as a run. It works while the service is away, as everything is written to this machine's journal."""

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

_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # exit codes, as those of shells
_SIGNALLED = 128
# How long to wait until the run exists, since MLflow's clients read it when they start. They take longer to start than
# this, so an absent service delays nothing noticeably.
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
    """Runs a command as a run of its own, and returns its exit status. All commands with the same `job`, any text,
    share a run, also on other machines and later. Raises ValueError if an argument is wrong."""
    if not command:
        raise ValueError("the command is missing; for example: runstream exec --experiment digits -- python train.py")
    program = shutil.which(command[0])
    if program is None:
        return _cannot_start(command[0], "no such program")
    environ = dict(os.environ)
    settings = _settings.from_environment(address, environ)
    # Nothing is to be recorded, or the command around this one does it.
    if settings.mode == "disabled" or VARIABLE in environ:
        os.execve(program, list(command), environ)  # noqa: S606 (the user's command)
    good_params = _params_tags.validate_all("param", params or {})
    good_tags = _params_tags.validate_all("tag", tags or {})
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
    """`python -m runstream.exec`, for installations without the command `runstream`."""
    parser = argparse.ArgumentParser("python -m runstream.exec", description="Run a program as a run.")
    parser.add_argument("--experiment", help="the run's experiment; default: that of runstream.toml, else Default")
    parser.add_argument("--name", help="the run's name; default: the service makes one up")
    parser.add_argument("--param", action="append", default=[], metavar="KEY=VALUE", help="a param of the run")
    parser.add_argument("--tag", action="append", default=[], metavar="KEY=VALUE", help="a tag of the run")
    parser.add_argument(
        "--job", metavar="ID", help="commands with the same id share a run: on all nodes, after a restart"
    )
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
    """The entries in texts of the form KEY=VALUE. Raises ValueError, which names the option."""
    for text in texts:
        if "=" not in text:
            raise ValueError(f"{option} {text!r}: expected KEY=VALUE")
    return {key: value for key, _, value in (text.partition("=") for text in texts)}


def _start(
    settings: _settings.Settings, environ: Mapping[str, str], experiment: str | None, name: str | None, job: str | None
) -> tuple[OuterRun, Run]:
    """Opens the handle of the run. Commands that a launcher has started as ranks share a run, as those of `start_run`
    do."""
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
    """Whether this process sets the run's params, tags and end: of several ranks, only one does."""
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
    """The status of the run: FINISHED for exit code 0, KILLED if a signal ended the program, else FAILED. (Shells
    report a signal as 128 plus its number.)"""
    if code == 0:
        return "FINISHED"
    by_signal = code < 0 or code - _SIGNALLED in (signal.SIGINT, signal.SIGKILL, signal.SIGTERM)
    return "KILLED" if by_signal or was_signalled else "FAILED"


def _cannot_start(program: str, why: str) -> int:
    _say(f"{program} cannot be started: {why}")
    return _NOT_FOUND if shutil.which(program) is None else _NOT_EXECUTABLE


def _say(text: str) -> None:
    sys.stderr.write(f"runstream: {text}\n")
    sys.stderr.flush()
