"""The settings of a run: from arguments, else the environment, else the project's file, else defaults."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import NamedTuple

from runstream._endpoint import EXPOSED, Endpoint, is_exposed, resolve
from runstream._profile import Project
from runstream._run_logger import warn_about_process

logger = logging.getLogger("runstream")

MODES = ("online", "offline", "disabled")
AGENTS = ("auto", "external", "thread")
_DIRECTORY_VARIABLES = ("RUNSTREAM_DIR", "RUNSTREAM_DIR_BYTES", "XDG_STATE_HOME", "HOME", "TMPDIR")


class Settings(NamedTuple):
    """How a run records its points. Times are in seconds, sizes in bytes."""

    endpoint: Endpoint = Endpoint()
    experiment: str = ""  # of runs that are started without one
    mode: str = "online"  # offline: nothing is sent, until `runstream sync`; disabled: nothing is recorded
    agent: str = "auto"  # external: an operator runs the agent; thread: no process is started
    system_metrics: bool = False
    directory_environ: tuple[tuple[str, str], ...] = ()  # the variables that say where the journal is
    max_points: int = 1_000_000  # of a handle, that are not in its journal yet
    max_bytes: int = 64 * 1024 * 1024
    max_call_bytes: int = 16 * 1024 * 1024  # params and tags that are not in the journal yet
    batch_points: int = 1_000  # a batch is complete when it has this many points...
    quick_interval_s: float = 0.05  # ...or when its first point is this old,
    interval_s: float = 0.25  # ...or this old while many points come
    exit_timeout_s: float = 10.0  # how long the interpreter's exit may wait for the last points

    @property
    def address(self) -> str:
        """The address of the service."""
        return self.endpoint.address


def from_environment(
    address: str | None, environ: Mapping[str, str], *, token: str | None = None, workspace: str | None = None
) -> Settings:
    """The settings of this process. Raises TypeError or ValueError if what decides where points go is wrong: an
    argument, an address, or the project's file. Any other invalid variable causes a warning, and its default is used.
    """
    defaults = Settings()
    project = Project.find()
    endpoint = resolve(address, environ, project=project, token=token, workspace=workspace)
    if is_exposed(endpoint):
        warn_about_process(EXPOSED, endpoint.address)
    return Settings(
        endpoint=endpoint,
        experiment=project.experiment,
        mode=_choice(environ, "RUNSTREAM_MODE", MODES),
        agent=_choice(environ, "RUNSTREAM_AGENT", AGENTS),
        system_metrics=_is_on(environ, "RUNSTREAM_SYSTEM_METRICS"),
        directory_environ=tuple((name, environ[name]) for name in _DIRECTORY_VARIABLES if name in environ),
        max_points=int(_number(environ, "RUNSTREAM_BUFFER_POINTS", defaults.max_points, 1)),
        max_bytes=int(_number(environ, "RUNSTREAM_BUFFER_BYTES", defaults.max_bytes, 4096)),
        exit_timeout_s=_number(environ, "RUNSTREAM_EXIT_TIMEOUT_S", defaults.exit_timeout_s, 0),
    )


def in_this_process(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """The settings of a handle that was sent by another process. Tokens are not sent with it: if that process had its
    token as text, this one uses its own token."""
    credentials = settings.endpoint.credentials
    if not credentials.has_token or credentials.token_file or credentials.login_file:
        return settings
    own = resolve(settings.address, environ)
    if not own.credentials.has_token:
        return settings
    return settings._replace(
        endpoint=settings.endpoint._replace(credentials=own.credentials._replace(workspace=credentials.workspace))
    )


def uses_http_proxy(environ: Mapping[str, str]) -> bool:
    """Whether RUNSTREAM_HTTP_PROXY asks for connections through the HTTP proxy that the environment names."""
    return _is_on(environ, "RUNSTREAM_HTTP_PROXY")


def http_proxy_variable(environ: Mapping[str, str]) -> str:
    """The name of the variable with the HTTP proxy that connections use, in gRPC's order; empty if they use none."""
    names = ("grpc_proxy", "https_proxy", "http_proxy") if uses_http_proxy(environ) else ()
    return next((name for name in names if environ.get(name)), "")


def _is_on(environ: Mapping[str, str], name: str) -> bool:
    return environ.get(name, "").strip().lower() in ("1", "true", "yes", "on")


def _choice(environ: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    text = environ.get(name, "").strip().lower()
    if text and text not in choices:
        logger.warning("%s=%r is not one of %s; using %s", name, text, ", ".join(choices), choices[0])
    return text if text in choices else choices[0]


def _number(environ: Mapping[str, str], name: str, default: float, least: float) -> float:
    text = environ.get(name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value < math.inf:
        logger.warning("%s=%r is not a number of at least %s; using %s", name, text, least, default)
        return default
    return value
