"""Finds a run by its id, the beginning of its id, or its name."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from runstream.commands.failures import fail
from runstream.commands.output import ago, short_id

if TYPE_CHECKING:
    import runstream

_CANDIDATES = 10
_WHOLE = re.compile(r"[0-9a-fA-F]{32}")
_PREFIX = re.compile(r"[0-9a-f]{1,31}")


def open_client(address: str | None) -> runstream.Client:
    """The client of a command. (Commands may start a browser, but never continue in a forked child.)"""
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
    import runstream

    return runstream.Client(address)


def find_run(client: runstream.Client, text: str, *, deleted: bool = False) -> str:
    """The id of the run with this id, beginning of an id, or name. Ends the command if there is none, or more than
    one."""
    plain = text.strip().replace("-", "")
    if _WHOLE.fullmatch(plain):
        return plain.lower()
    found = client.search_runs(_filter(text), deleted=deleted, limit=_CANDIDATES + 1)
    if not found:
        fail(_none(client, text, deleted=deleted))
    if len(found) > 1:
        fail(_several(text, found), 2)
    return found[0].run_id


def _none(client: runstream.Client, text: str, *, deleted: bool) -> str:
    others = client.search_runs(_filter(text), deleted=not deleted, limit=1)
    if others:
        restore = f"is deleted; to restore it: runstream restore {short_id(others[0].run_id)}"
        return f"run {text!r} {'is not deleted' if deleted else restore}"
    what, where = ("deleted run", "ls --deleted") if deleted else ("run", "ls EXPERIMENT")
    return f"no {what} has the id or name {text!r}, or an id that begins so; `runstream {where}` lists them"


def _several(text: str, found: Sequence[runstream.RunInfo]) -> str:
    lines = [
        f"\n  {short_id(run.run_id)}  {run.experiment} / {run.name}, {run.status}, {ago(run.start_time_unix_us)}"
        for run in found[:_CANDIDATES]
    ]
    which = f"more than {_CANDIDATES}" if len(found) > _CANDIDATES else f"{len(lines)}"
    return f"{text!r} may be any of {which} runs; use the id, or more of it:{''.join(lines)}"


def find_runs(client: runstream.Client, texts: tuple[str, ...]) -> list[str]:
    """The ids of several runs, as `find_run` finds them."""
    return [find_run(client, text) for text in texts]


def find_experiment(
    client: runstream.Client, text: str, hint: str = "`runstream ls` lists them"
) -> runstream.Experiment:
    """The experiment with this name, else with this id. Ends the command, with a hint, if there is none."""
    import runstream

    try:
        return client.get_experiment(text)
    except runstream.NotFound:
        if not text.isdecimal():
            fail(f"no experiment has the name {text!r}; {hint}")
    try:
        return client.get_experiment(int(text))
    except runstream.NotFound:
        fail(f"no experiment has the name or id {text!r}; {hint}")


def link_to(client: runstream.Client, run_id: str) -> str:
    """The URL of a run's page."""
    from runstream.mlflow.address import http_url_here

    return f"{http_url_here(client.address, os.environ)}/r/{run_id}"


def _filter(text: str) -> str:
    """The search for a name, or the beginning of an id. It cannot express a name with both kinds of quotes."""
    quote = '"' if "'" in text else "'"
    if quote in text:
        fail(f"the name {text!r} has both kinds of quotes, so it cannot be searched for; use the run's id", 2)
    by_name = f"attributes.run_name = {quote}{text}{quote}"
    start = text.strip().lower().replace("-", "")
    return f"{by_name} OR attributes.run_id LIKE '{start}%'" if _PREFIX.fullmatch(start) else by_name
