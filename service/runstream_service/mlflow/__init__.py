"""MLflow's tracking REST API over the same core as gRPC.

What all routes share:

    routes.py       the table of paths and handlers; route_kinds.py: the kinds of its lines
    endpoints.py    a line of the table -> an endpoint with limits, and errors in MLflow's form (http/mlflow_errors.py)
    json_size.py    limits the work that one body causes
    request.py      query or body -> a message (msgspec), with MLflow's error messages
    responses.py    metrics, params and tags in JSON: NaN, infinities
    names.py        MLflow's rules for keys and values; times.py: for times
    run_ids.py, experiment_ids.py  ids in requests

The messages of an area and their handlers, which decode, call the core and encode:

    experiments.py  experiments
    runs.py         runs; run_answers.py: one or thousands of them in the form of MLflow's messages
    run_writes.py   what is logged to a run: checked here, stored by a sink (database_sink.py: in PostgreSQL).
                    metric_bodies.py: points; params_and_tags.py: params and tags
    inputs.py       inputs and outputs of runs
    metrics.py      histories of metrics
    search.py       searches of runs and experiments
    artifacts.py    files; transfers.py streams them
    logged_models.py, registered_models.py, model_versions.py, model_search.py  models
    workspaces.py   workspaces
    server.py       about the server itself
    graphql.py      the same calls for the UI's GraphQL; graphql_queries.py executes queries, schema.graphql

Nothing here imports the package `mlflow`.
"""
