"""Checks of this node: the directory with the journals, and the agent that sends them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runstream._sizes import shown_bytes
from runstream._version import VERSION
from runstream.doctor.checks import Check, broken, ok, skipped, warning
from runstream.journal import Directory
from runstream.journal.layout import DAMAGED, WRITER_LOCK
from runstream.journal.locks import is_locked

_LITTLE_BYTES, _NO_BYTES = 1 << 30, 64 << 20
_FULL = 0.9


def check_node(path: Path | None, environ: Mapping[str, str]) -> Iterator[Check]:
    """Yields all checks of one directory: the one at `path`, or the one that a training process here would use."""
    try:
        directory = Directory.choose(environ) if path is None else Directory.open(path)
    except OSError as error:
        yield broken("directory", str(error), "set RUNSTREAM_DIR to a directory on a local disk that can be written")
        yield skipped("agent", "there is no directory")
        return
    yield _directory(directory)
    yield _space(directory)
    yield _damage(directory)
    waiting = _waiting(directory)
    yield _journals(directory, waiting)
    yield _agent(directory, waiting)


def _directory(directory: Directory) -> Check:
    if directory.warning:
        return warning("directory", directory.chosen(), directory.warning)
    return ok("directory", directory.chosen())


def _space(directory: Directory) -> Check:
    status = os.statvfs(directory.path)
    free = status.f_bavail * status.f_frsize
    used, limit = directory.total_bytes(), directory.limit_bytes
    found = (
        f"journals take {shown_bytes(used)} of at most {shown_bytes(limit)}; {shown_bytes(free)} are free on the disk"
    )
    if used >= limit:
        hint = "new points are refused: see why the agent does not send, or raise RUNSTREAM_DIR_BYTES"
        return broken("space", found, hint)
    if free < _NO_BYTES:
        return broken("space", found, "free some space, or set RUNSTREAM_DIR to another disk")
    if used > _FULL * limit or free < min(_LITTLE_BYTES, limit):
        return warning("space", found, "an outage of the service may fill it: free some space or raise the limit")
    return ok("space", found)


def _damage(directory: Directory) -> Check:
    places = [path / DAMAGED for path in directory.journals()]
    if directory.damaged_path.is_dir():
        places += list(directory.damaged_path.iterdir())
    texts = [text for place in places if place.is_dir() for text in place.glob("*.txt")]
    if not texts:
        return ok("damage", "none")
    return warning(
        "damage",
        f"{len(texts)} damaged parts of journals were set aside, the last one described in "
        f"{max(texts, key=_changed_s)}",
        "these texts say what was lost; check the disk, and delete them once you have read them",
    )


def _changed_s(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _waiting(directory: Directory) -> list[Path]:
    """Journals whose writers are gone, so that only an agent can finish them."""
    return [path for path in directory.journals() if not is_locked(path / WRITER_LOCK)]


def _journals(directory: Directory, left: list[Path]) -> Check:
    count = len(directory.journals())
    if not count:
        return ok("journals", "none: everything is sent")
    return ok("journals", f"{count - len(left)} of running processes, {len(left)} of processes that have ended")


def _agent(directory: Directory, left: list[Path]) -> Check:
    if not directory.agent_runs():
        if left:
            return warning(
                "agent",
                f"none runs, and {len(left)} journals of processes that have ended wait for one",
                f"run `runstream sync {directory.path}`, or wait for the next training process here, which starts one",
            )
        return ok("agent", "none runs; a training process starts one")
    status = directory.read_agent_status()
    pid, agent_version = status.get("pid") or directory.agent_pid(), str(status.get("version") or "")
    found = f"process {pid}" + (f", version {agent_version}" if agent_version else "")
    errors = _errors(status)
    if errors:
        return broken("agent", f"{found}: {'; '.join(errors)}", f"see its log, {directory.agent_log_path}")
    if agent_version and agent_version != VERSION:
        hint = "it ends when everything is sent, and the next one has this version; to have that now, end the agent"
        return warning("agent", f"{found}, and the client has version {VERSION}", hint)
    return ok("agent", found)


def _errors(status: Mapping[str, Any]) -> list[str]:
    """The last errors of addresses that are not connected."""
    addresses = status.get("addresses")
    if not isinstance(addresses, Mapping):
        return []
    return [
        f"{address}: {one['last_error']}"
        for address, one in addresses.items()
        if isinstance(one, Mapping) and one.get("last_error") and one.get("state") not in ("open", "idle")
    ]
