"""Runs all checks and prints them."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from runstream._endpoint import resolve
from runstream._profile import Project
from runstream.doctor.checks import Check, State, broken
from runstream.doctor.environment import check_environment
from runstream.doctor.node import check_node
from runstream.doctor.service import check_service
from runstream.mlflow.address import http_url_here, http_url_of

_MARKS = {State.OK: "ok", State.WARNING: "!", State.BROKEN: "BROKEN", State.SKIPPED: "-"}
_COLOURS = {State.OK: "32", State.WARNING: "33", State.BROKEN: "31", State.SKIPPED: "2"}


def run(*, address: str | None, http: str | None, directory: Path | None, as_json: bool) -> int:
    """Checks the way from a training process here to the service, and prints each result. Returns the exit code: 1 if
    something is broken."""
    checks: list[Check] = []
    for check in _all(address, http, directory, os.environ):
        checks.append(check)
        if not as_json:
            sys.stdout.write(rendered(check, colours=sys.stdout.isatty(), width=shutil.get_terminal_size().columns))
            sys.stdout.flush()
    if as_json:
        rows = [{"check": c.name, "state": c.state.value, "found": c.found, "hint": c.hint} for c in checks]
        sys.stdout.write(json.dumps({"broken": any_broken(checks), "checks": rows}, ensure_ascii=False) + "\n")
    return 1 if any_broken(checks) else 0


def any_broken(checks: Iterable[Check]) -> bool:
    """Whether any check found why points cannot arrive."""
    return any(check.state is State.BROKEN for check in checks)


def _all(address: str | None, http: str | None, directory: Path | None, environ: Mapping[str, str]) -> Iterator[Check]:
    http_url = ""
    try:
        endpoint = resolve(address, environ, project=Project.find())
        http_url = http_url_of(endpoint.address, http) if http else http_url_here(endpoint.address, environ)
    except ValueError as error:
        yield broken("address", str(error), "correct it in --address, --http, runstream.toml, or the variable")
    else:
        yield from check_service(endpoint, http_url)
    yield from check_node(directory, environ)
    yield from check_environment(environ, http_url)


def rendered(check: Check, *, colours: bool, width: int) -> str:
    """A check as text, with its hint below it."""
    mark = f"{_MARKS[check.state]:<7}"
    lead = f"\x1b[{_COLOURS[check.state]}m{mark}\x1b[0m" if colours else mark
    wrap = textwrap.TextWrapper(max(40, width - 20), break_long_words=False, break_on_hyphens=False)
    lines = wrap.wrap(check.found) or [""]
    lines += [("-> " if index == 0 else "   ") + line for index, line in enumerate(wrap.wrap(check.hint))]
    first = f"{lead} {check.name:<12}{lines[0]}\n"
    return first + "".join(f"{'':<20}{line}\n" for line in lines[1:])


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m runstream.doctor`, for installations without the command `runstream`."""
    parser = argparse.ArgumentParser(
        "python -m runstream.doctor",
        description="Check the way from a training process here to the service. Exit code 1: something is broken.",
    )
    parser.add_argument("--address", help="where the service is; default: RUNSTREAM_ADDRESS, else 127.0.0.1:50051")
    parser.add_argument("--http", help="where it serves MLflow's API; default: the same host, port 5000")
    parser.add_argument(
        "--dir", type=Path, help="the directory with the journals; default: the one that a training process here uses"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parsed = parser.parse_args(arguments)
    return run(address=parsed.address, http=parsed.http, directory=parsed.dir, as_json=parsed.json)
