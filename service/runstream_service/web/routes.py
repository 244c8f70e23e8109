"""The table of the routes of the page's API. Their paths are relative to WEB_API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import BaseRoute, Route

from runstream_service.core.caller import Role
from runstream_service.http.bodies import Bodies
from runstream_service.http.paths import WEB_API
from runstream_service.web import charts, events, experiments, imports, me, run_edits, runs, stragglers, views
from runstream_service.web.endpoints import endpoint_of, guarded, unknown
from runstream_service.web.large_answers import LargeAnswers
from runstream_service.web.request import Empty
from runstream_service.web.route_kinds import WebRoute

if TYPE_CHECKING:
    from runstream_service.server.wiring import Core, Queries
    from runstream_service.web.live.hub import Hub

READ, WRITE, MANAGE = Role.READ, Role.WRITE, Role.MANAGE

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
# The bodies of all requests that are under way. The longest body has a megabyte.
_MAX_BYTES_OF_BODIES = 16 << 20


def table(core: Core, queries: Queries, hub: Hub) -> tuple[WebRoute, ...]:
    """All routes of the page's API."""
    of_charts = charts.ChartHandlers(queries)
    of_experiments = experiments.ExperimentHandlers(core.experiment_activity)
    of_runs = runs.RunHandlers(core, queries)
    of_edits = run_edits.EditHandlers(core.runs, core.run_moves)
    of_stragglers = stragglers.StragglerHandlers(queries.stragglers)
    of_views = views.ViewHandlers(core.saved_views)
    of_imports = imports.ImportHandlers(core.imports)
    return (
        WebRoute("GET", "me", READ, Empty, me.MeHandlers(core.access).get),
        WebRoute("POST", "charts", READ, charts.ChartOfRuns, of_charts.chart),
        WebRoute("POST", "aggregate", READ, charts.AggregateOfRun, of_charts.aggregate),
        WebRoute("GET", "experiments", READ, Empty, of_experiments.list),
        WebRoute("POST", "runs/search", READ, runs.SearchRuns, of_runs.search),
        WebRoute("GET", "runs/{run_id}", READ, runs.OneRun, of_runs.get),
        WebRoute("POST", "runs/overviews", READ, runs.SomeOverviews, of_runs.overviews),
        WebRoute("POST", "runs/{run_id}/edit", WRITE, run_edits.EditRun, of_edits.edit),
        WebRoute("POST", "runs/delete", MANAGE, run_edits.SomeRuns, of_edits.delete),
        WebRoute("POST", "runs/restore", MANAGE, run_edits.SomeRuns, of_edits.restore),
        WebRoute("POST", "runs/move", MANAGE, run_edits.MoveRuns, of_edits.move),
        WebRoute("GET", "views", READ, Empty, of_views.list),
        WebRoute("POST", "views", WRITE, views.NewView, of_views.create),
        WebRoute("GET", "views/{view_id}", READ, views.OneView, of_views.get),
        WebRoute("PUT", "views/{view_id}", WRITE, views.ChangedView, of_views.update),
        WebRoute("DELETE", "views/{view_id}", WRITE, views.OneView, of_views.delete),
        WebRoute("POST", "import/experiments", MANAGE, imports.ImportExperiment, of_imports.experiment),
        WebRoute("POST", "import/logged-models", MANAGE, imports.ImportModel, of_imports.logged_model),
        WebRoute(
            "POST", "import/registered-models", MANAGE, imports.ImportRegisteredModel, of_imports.registered_model
        ),
        WebRoute("POST", "import/model-versions", MANAGE, imports.ImportVersion, of_imports.model_version),
        WebRoute("GET", "keys", READ, runs.KeysOf, of_runs.keys),
        WebRoute("GET", "runs/{run_id}/stragglers", READ, stragglers.StragglersOf, of_stragglers.read),
        WebRoute("GET", "events", READ, events.Follow, events.EventHandlers(hub).follow, lasts=True),
    )


def routes(entries: tuple[WebRoute, ...]) -> list[BaseRoute]:
    """The table as Starlette's routes. Any other path below WEB_API gets the page's error for unknown endpoints."""
    bodies, large = Bodies(_MAX_BYTES_OF_BODIES), LargeAnswers()
    known = [
        Route(WEB_API + entry.path, endpoint_of(entry, bodies, large), methods=[entry.method]) for entry in entries
    ]
    return [*known, Route(WEB_API + "{path:path}", guarded(unknown), methods=_METHODS)]
