"""What `runstream bench --durability` compares, and what it does to it. The command line needs these names before it
imports anything large."""

TRACKERS = {
    "runstream": "runstream serve on PostgreSQL; run.log()",
    "runstream-mlflow": "the same service; an MLflow script, unchanged, with MLflow's own HTTP client",
    "mlflow": "mlflow server with its default, SQLite; mlflow.log_metrics()",
    "mlflow-postgres": "mlflow server on PostgreSQL; mlflow.log_metrics()",
    "mlflow-async": "the same server; mlflow.config.enable_async_logging(), flush_async_logging() at the end",
    "fasttrackml": "fml server with its default, SQLite; mlflow.log_metrics() of MLflow 2",
    "fasttrackml-postgres": "fml server on PostgreSQL; the same client",
    "trackio": "trackio without a server: SQLite in a local directory; trackio.log()",
    "trackio-server": "a self-hosted trackio server; trackio.init(server_url=...)",
    "aim": "Aim without a server: a local repository; Run.track()",
    "aim-server": "aim server; Run(repo='aim://...')",
}

SCENARIOS = {
    "no-fault": "nothing goes wrong",
    "values": "NaN, infinities, extreme values, late and repeated steps",
    "kill-trainer": "kill -9 of the trainer",
    "kill-server": "kill -9 of the server, twice",
    "kill-database": "kill -9 of PostgreSQL, twice",
    "lost-answers": "answers are lost, so that batches are sent again",
    "ranks": "four ranks in one run",
    "full-disk": "the disk of the training machine is full",
    "outage": "the server is away for a long time; training goes on",
    "ends-in-outage": "the server is away; the training ends before it is back",
}
