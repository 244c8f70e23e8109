"""Makes the objects that answer single calls: the core and the reads, which gRPC, MLflow's routes and the page
share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream_service.artifacts.files_of_caller import FilesOfCaller
from runstream_service.core.experiment_activity import ExperimentActivity
from runstream_service.core.experiment_search import ExperimentSearch
from runstream_service.core.experiments import Experiments
from runstream_service.core.imports import Imports
from runstream_service.core.inputs import Inputs
from runstream_service.core.logged_models import LoggedModels
from runstream_service.core.model_metrics import ModelMetrics
from runstream_service.core.model_versions import ModelVersions
from runstream_service.core.registered_models import RegisteredModels
from runstream_service.core.run_moves import RunMoves
from runstream_service.core.runs import Runs
from runstream_service.core.saved_views import SavedViews
from runstream_service.ingest.http_writes import HttpIngest
from runstream_service.limits.limited_reads import LimitedReads
from runstream_service.query.charts.aggregate import Aggregate
from runstream_service.query.charts.beginnings import Beginnings
from runstream_service.query.charts.chart import Chart
from runstream_service.query.charts.stragglers import Stragglers
from runstream_service.query.history.history import History
from runstream_service.query.keys_in_use import KeysInUse
from runstream_service.query.latest import Latest
from runstream_service.query.mlflow_view.run_metrics import RunMetrics
from runstream_service.query.reading.read_transaction import ReadPool
from runstream_service.query.run_overview import RunOverview
from runstream_service.query.run_search.run_search import RunSearch

if TYPE_CHECKING:
    from runstream_service.artifacts.store import ArtifactStore
    from runstream_service.auth.access import Access
    from runstream_service.database.pool import Database
    from runstream_service.ingest.pipeline import IngestPipeline
    from runstream_service.limits.workspace_limits import WorkspaceLimits
    from runstream_service.query.reading.reader_thread import ReaderThread
    from runstream_service.server.pool_shares import PoolShares


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """What handlers call to read and change everything but points."""

    experiments: Experiments
    experiment_search: ExperimentSearch
    experiment_activity: ExperimentActivity
    runs: Runs
    run_moves: RunMoves
    inputs: Inputs
    run_search: RunSearch
    latest: Latest
    registered_models: RegisteredModels
    model_versions: ModelVersions
    http_ingest: HttpIngest
    model_metrics: ModelMetrics
    run_metrics: RunMetrics
    artifacts: FilesOfCaller
    logged_models: LoggedModels
    saved_views: SavedViews
    imports: Imports
    access: Access


@dataclass(frozen=True, slots=True, kw_only=True)
class Queries:
    """The reads of points."""

    history: History
    latest: Latest
    chart: Chart
    aggregate: Aggregate
    keys_in_use: KeysInUse
    run_overview: RunOverview
    stragglers: Stragglers


def build_services(
    database: Database,
    pipeline: IngestPipeline,
    artifacts: ArtifactStore,
    reader: ReaderThread,
    access: Access,
    *,
    shares: PoolShares,
    limits: WorkspaceLimits,
) -> tuple[Core, Queries]:
    """Makes the core, and the reads of points."""
    limited = LimitedReads(limits)
    histories = ReadPool(
        reader.database, max_reads=shares.histories, thread=reader, limited=limited, urgent=pipeline.urgent
    )
    short_reads = ReadPool(
        reader.database, max_reads=shares.short_reads, thread=reader, limited=limited, urgent=pipeline.urgent
    )
    queries = build_queries(short_reads, histories)
    experiments = Experiments(database)
    core = Core(
        experiments=experiments,
        experiment_search=ExperimentSearch(database),
        experiment_activity=ExperimentActivity(database),
        runs=Runs(database, experiments),
        run_moves=RunMoves(database),
        inputs=Inputs(database),
        run_search=RunSearch(short_reads),
        latest=queries.latest,
        registered_models=RegisteredModels(database),
        model_versions=ModelVersions(database),
        http_ingest=HttpIngest(database, pipeline),
        model_metrics=ModelMetrics(database),
        run_metrics=RunMetrics(short_reads),
        artifacts=FilesOfCaller(artifacts, database, limits),
        logged_models=LoggedModels(database),
        saved_views=SavedViews(database),
        imports=Imports(database),
        access=access,
    )
    return core, queries


def build_queries(short_reads: ReadPool, histories: ReadPool) -> Queries:
    """Makes the reads of points. `histories` is a pool of its own for reads that may take long."""
    latest, chart, keys_in_use = Latest(short_reads), Chart(short_reads), KeysInUse(short_reads)
    history = History(histories)
    return Queries(
        history=history,
        latest=latest,
        chart=chart,
        aggregate=Aggregate(short_reads),
        keys_in_use=keys_in_use,
        run_overview=RunOverview(latest, chart, Beginnings(short_reads), keys_in_use),
        stragglers=Stragglers(chart, history),
    )
