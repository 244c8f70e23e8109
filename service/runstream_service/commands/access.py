"""Subcommands about access: workspace, token, tracking-uri, audit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runstream.commands.failures import in_one_line
from runstream.commands.options import address_option
from runstream.commands.output import Column, show_rows

if TYPE_CHECKING:
    from runstream_service.commands.access_calls import DatabaseCalls, ServiceCalls

_ROLES = ("read", "write", "manage", "admin")
_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_SHOWN_EVENTS = 50
_DEFAULT = -1  # for a limit: the value of the service's settings


class _Duration(click.ParamType[float]):
    name = "DURATION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"([0-9]{1,9})([smhd])", str(value))
        if match is None:
            self.fail(f"{value!r} is not a number followed by s, m, h or d, such as 12h or 30d", param, ctx)
        return float(match[1]) * _UNITS_S[match[2]]


def _access_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say where a command works: through a service, or in its database."""
    for option in (
        click.option(
            "--data-dir",
            envvar="RUNSTREAM_DATA_DIR",
            show_envvar=True,
            type=click.Path(path_type=Path),
            help="Work in the embedded database of the service that runs on this directory; needs no token.",
        ),
        click.option(
            "--database",
            envvar="RUNSTREAM_DATABASE",
            show_envvar=True,
            help="Work in the service's PostgreSQL at this URL, without the service; needs no token.",
        ),
        click.option("--workspace", default="", help="The workspace to work in.  [default: that of the token]"),
    ):
        command = option(command)
    return address_option(command)


def _calls(
    address: str | None, database: str | None, data_dir: Path | None, workspace: str
) -> ServiceCalls | DatabaseCalls:
    from runstream_service.commands.access_calls import choose_calls
    from runstream_service.monitoring import logs

    logs.configure(level="warning", format="auto")
    return choose_calls(address=address, database=database, data_dir=data_dir, workspace=workspace)


@click.group()
def workspace() -> None:
    """Create and list workspaces: teams that do not see each other."""


@workspace.command("create")
@click.argument("name")
@click.option("--description", default="", help="What it is for.")
@_access_options
def create_workspace(name: str, description: str, **where: Any) -> None:
    """Create the workspace NAME. Needs an admin's token, or the database."""
    with in_one_line():
        from runstream.v1 import access_pb2

        _calls(**where).call("CreateWorkspace", access_pb2.CreateWorkspaceRequest(name=name, description=description))
        click.echo(
            f"created workspace {name!r}; next: runstream token create --workspace {name} --role write --name ci"
        )


@workspace.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@_access_options
def list_workspaces(as_json: bool, **where: Any) -> None:
    """List the workspaces that you may enter."""
    with in_one_line():
        from runstream.v1 import access_pb2

        found = _calls(**where).call("ListWorkspaces", access_pb2.ListWorkspacesRequest()).workspaces
        _show(
            ("name", "created", "description"),
            [(one.name, _time(one.created_at_unix_us), one.description) for one in found],
            as_json=as_json,
        )


class _Limit(click.ParamType[int]):
    name = "N|none|default"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if value == "default":
            return _DEFAULT
        if value != "none" and not re.fullmatch(r"[1-9][0-9]{0,14}", str(value)):
            self.fail(f"{value!r} is not a whole number above 0, none or default", param, ctx)
        return 0 if value == "none" else int(value)


@workspace.command("limits")
@click.argument("name")
@click.option("--points-per-second", type=_Limit(), help="Points per second; above this, streams wait.")
@click.option("--streams", type=_Limit(), help="Ingest streams at a time.")
@click.option("--concurrent-reads", type=_Limit(), help="Reads at a time; further ones wait.")
@click.option("--series-per-run", type=_Limit(), help="Series (metric, rank, attempt) of one run.")
@click.option("--file-bytes", type=_Limit(), help="Size of one artifact file, in bytes.")
@_access_options
def workspace_limits(
    name: str,
    points_per_second: int | None,
    streams: int | None,
    concurrent_reads: int | None,
    series_per_run: int | None,
    file_bytes: int | None,
    **where: Any,
) -> None:
    """Change the limits of the workspace NAME that are named by options, and show all of its limits.

    default: the value of the service's settings (--workspace-...); none: no limit. Changes take effect within seconds.
    They need an admin's token, or the database.
    """
    changes = {
        "points_per_second": points_per_second,
        "streams": streams,
        "concurrent_reads": concurrent_reads,
        "series_per_run": series_per_run,
        "file_bytes": file_bytes,
    }
    with in_one_line():
        from runstream.v1 import access_pb2

        calls = _calls(**where)
        limits = calls.call("GetWorkspaceLimits", access_pb2.GetWorkspaceLimitsRequest(workspace=name)).limits
        if any(value is not None for value in changes.values()):
            for field, value in changes.items():
                if value == _DEFAULT:
                    limits.ClearField(field)
                elif value is not None:
                    setattr(limits, field, value)
            request = access_pb2.SetWorkspaceLimitsRequest(workspace=name, limits=limits)
            limits = calls.call("SetWorkspaceLimits", request).limits
        for field in changes:
            shown = (getattr(limits, field) or "none") if limits.HasField(field) else "default"
            click.echo(f"{field:18} {shown:,}" if isinstance(shown, int) else f"{field:18} {shown}")


@click.group()
def token() -> None:
    """Create, list and revoke tokens, with which training jobs and people authenticate."""


@token.command("create")
@click.option("--name", required=True, help="A name to recognise it by, for example that of the job.")
@click.option("--role", type=click.Choice(_ROLES), default="write", show_default=True, help="What it may do.")
@click.option(
    "--expires", type=_Duration(), metavar="DURATION", help="How long it is valid: 12h, 30d.  [default: forever]"
)
@_access_options
def create_token(name: str, role: str, expires: float | None, **where: Any) -> None:
    """Create a token and print it. It cannot be shown again.

    If you have no token yet, use --database or --data-dir: with access to the database, you can create the first
    admin's token.
    """
    with in_one_line():
        from runstream.v1 import access_pb2

        request = access_pb2.CreateTokenRequest(
            name=name,
            role=access_pb2.Role.Value(f"ROLE_{role.upper()}"),  # type: ignore[arg-type]  # protobuf's stubs
            expires_in_s=expires or 0.0,
        )
        made = _calls(**where).call("CreateToken", request)
        place = f"workspace {made.token.workspace!r}" if made.token.workspace else "all workspaces"
        until = f"until {_time(made.token.expires_at_unix_us)}" if made.token.expires_at_unix_us else "forever"
        click.echo(
            f"token {name!r} (id {made.token.token_id}) may {role} in {place}, {until}. "
            "Store it now; it cannot be shown again:",
            err=True,
        )
        click.echo(made.text)


@token.command("list")
@click.option("--all", "everywhere", is_flag=True, help="List those of all workspaces; for admins.")
@click.option("--revoked", is_flag=True, help="Include those that were revoked.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@_access_options
def list_tokens(everywhere: bool, revoked: bool, as_json: bool, **where: Any) -> None:
    """List tokens, newest first. Their secret texts are not stored, so they cannot be shown."""
    with in_one_line():
        rows = [
            (
                one.token_id,
                one.name,
                one.workspace or "(all)",
                _role_name(one.role),
                _time(one.created_at_unix_us),
                one.created_by,
                _time(one.expires_at_unix_us) or "never",
                _time(one.revoked_at_unix_us),
            )
            for one in _tokens(_calls(**where), everywhere=everywhere, revoked=revoked)
        ]
        names = ("id", "name", "workspace", "role", "created", "by", "expires", "revoked")
        _show(names, rows, as_json=as_json)


@token.command("revoke")
@click.argument("token_id", metavar="ID", type=int)
@_access_options
def revoke_token(token_id: int, **where: Any) -> None:
    """Revoke the token with this ID, which `runstream token list` shows.

    Within five seconds it is refused everywhere, and its open streams end.
    """
    with in_one_line():
        from runstream.v1 import access_pb2

        revoked = _calls(**where).call("RevokeToken", access_pb2.RevokeTokenRequest(token_id=token_id)).token
        click.echo(f"revoked token {revoked.name!r} (id {token_id})")


@click.command("tracking-uri")
@click.option(
    "--expires",
    type=_Duration(),
    default="1h",
    show_default=True,
    metavar="DURATION",
    help="How long it is valid, at most a day.",
)
@click.option(
    "--http",
    envvar="RUNSTREAM_MLFLOW_HTTP_ADDRESS",
    show_envvar=True,
    help="URL of the service's HTTP port, if the service does not know its own (--public-url).",
)
@_access_options
def tracking_uri(expires: float, http: str | None, **where: Any) -> None:
    """Print a short-lived tracking URI for mlflow.set_tracking_uri. It contains a token, so keep it secret."""
    with in_one_line():
        from runstream.v1 import access_pb2
        from runstream_service.auth import tracking_uris

        if http and not http.startswith(("http://", "https://")):
            raise click.UsageError(f"--http {http!r} is not a URL such as http://127.0.0.1:5000")
        made = _calls(**where).call("CreateTrackingUri", access_pb2.CreateTrackingUriRequest(expires_in_s=expires))
        if not made.uri and not http:
            raise click.UsageError("the service does not know its own URL (--public-url); name it with --http")
        click.echo(f"valid until {_time(made.expires_at_unix_us)}", err=True)
        click.echo(tracking_uris.tracking_uri(http, made.text) if http else made.uri)


@click.command()
@click.option("--all", "everywhere", is_flag=True, help="Show the events of all workspaces; for admins.")
@click.option(
    "--limit", type=click.IntRange(1, 1_000), default=_SHOWN_EVENTS, show_default=True, help="How many events."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@_access_options
def audit(everywhere: bool, limit: int, as_json: bool, **where: Any) -> None:
    """Show who did what: sign-ins, tokens, deletions, restores, retention, refusals. Newest first."""
    with in_one_line():
        from runstream.v1 import access_pb2

        request = access_pb2.ListAuditEventsRequest(all_workspaces=everywhere, page_size=limit)
        events = _calls(**where).call("ListAuditEvents", request).events
        rows = [
            (_time(one.at_unix_us), one.workspace, one.principal, one.action, one.subject, one.details)
            for one in events
        ]
        _show(("time", "workspace", "principal", "action", "subject", "details"), rows, as_json=as_json)


def _tokens(calls: ServiceCalls | DatabaseCalls, *, everywhere: bool, revoked: bool) -> Iterable[Any]:
    from runstream.v1 import access_pb2

    after = ""
    while True:
        request = access_pb2.ListTokensRequest(
            all_workspaces=everywhere, include_revoked=revoked, page_size=1_000, page_token=after
        )
        page = calls.call("ListTokens", request)
        yield from page.tokens
        if not (after := page.next_page_token):
            return


def _role_name(number: int) -> str:
    from runstream.v1 import access_pb2

    return access_pb2.Role.Name(number).removeprefix("ROLE_").lower()


def _time(unix_us: int) -> str:
    """A time for people to read; empty for 0, which means that there is none."""
    return f"{datetime.fromtimestamp(unix_us / 1e6, UTC):%Y-%m-%d %H:%M:%S} UTC" if unix_us else ""


_WHOLE = ("id", "action")  # columns that stay on one line in a narrow terminal


def _show(names: tuple[str, ...], rows: list[tuple[Any, ...]], *, as_json: bool) -> None:
    show_rows(
        "json" if as_json else "table", [Column(name, wraps=True, is_whole=name in _WHOLE) for name in names], rows
    )
