"""The subcommands of `runstream`: they read options, call one function, and report its error in one line.

A command's module is imported when the command is used. Those that look at runs need the extra [cli] alone; others do
their work in packages of the service, with all that the extra [server] brings.
"""

from __future__ import annotations

import click

from runstream_service.commands.lazy_group import LazyGroup, version_option

# Section of the help -> name of the command -> its module below this package, and its name there.
_COMMANDS = {
    "Look at runs": {
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
    "Change runs": {
        "delete": "runs:delete",
        "restore": "runs:restore",
        "retention": "runs:retention",
    },
    "On a training machine": {
        "exec": "exec:execute",
        "login": "login:login",
        "logout": "login:logout",
        "doctor": "login:doctor",
        "agent": "agent:agent",
        "sync": "agent:sync",
        "tensorboard": "tensorboard:tensorboard",
        "completion": "completion:completion",
    },
    "The service": {
        "serve": "service:serve",
        "status": "database:status",
        "gc": "database:gc",
        "distribute": "database:distribute",
        "demo": "service:demo",
        "bench": "service:bench",
    },
    "Who may do what": {
        "workspace": "access:workspace",
        "token": "access:token",
        "tracking-uri": "access:tracking_uri",
        "audit": "access:audit",
    },
}


@click.group(
    cls=LazyGroup,
    sections=_COMMANDS,
    package=__name__,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@version_option
def runstream() -> None:
    """Streams metric points from training workers into PostgreSQL: durably, exactly once, fast."""
