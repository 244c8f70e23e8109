"""The subcommands of `runstream`: they read options, call one function, and report its error in one line.

A command's module is imported when the command is used. Commands that read or change runs, or work on a training
machine, only need the extra [cli]. Those of the server are in its distribution, which the extra [server] installs;
`bench` is in one that only a clone of the repository has.
"""

from __future__ import annotations

import click

from runstream.commands.lazy_group import LazyGroup, version_option
from runstream.commands.server import SERVER

_CLIENT = __name__
_SERVER = f"{SERVER}.commands"
_OF_THE_BENCHMARK = "runstream_bench"

# Section of the help -> the package with its modules; name of the command -> its module there, and its name in it.
_COMMANDS = {
    ("Read runs", _CLIENT): {
        "ls": "runs:ls",
        "show": "runs:show",
        "history": "points:history",
        "plot": "plot:plot",
        "compare": "runs:compare",
        "tail": "points:tail",
        "top": "top:top",
        "open": "runs:open_page",
        "export": "points:export",
    },
    ("Change runs", _CLIENT): {
        "delete": "runs:delete",
        "restore": "runs:restore",
        "mv": "runs:move",
        "retention": "runs:retention",
    },
    ("On a training machine", _CLIENT): {
        "exec": "exec:execute",
        "login": "login:login",
        "logout": "login:logout",
        "doctor": "login:doctor",
        "agent": "agent:agent",
        "sync": "agent:sync",
        "tensorboard": "tensorboard:tensorboard",
        "completion": "completion:completion",
    },
    ("From other trackers", _SERVER): {
        "import": "importing:import_group",
    },
    ("The service", _SERVER): {
        "serve": "service:serve",
        "status": "database:status",
        "gc": "database:gc",
        "distribute": "database:distribute",
        "demo": "service:demo",
    },
    ("Access", _SERVER): {
        "workspace": "access:workspace",
        "token": "access:token",
        "tracking-uri": "access:tracking_uri",
        "audit": "access:audit",
    },
    ("Develop runstream", _OF_THE_BENCHMARK): {
        "bench": "cli:bench",
    },
}


@click.group(
    cls=LazyGroup,
    sections=_COMMANDS,
    unlisted=[_OF_THE_BENCHMARK],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@version_option
def runstream() -> None:
    """Streams metric points from training workers into PostgreSQL: durably, exactly once, fast."""
