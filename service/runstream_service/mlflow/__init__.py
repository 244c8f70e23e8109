"""MLflow's tracking REST API over the same core as gRPC.

    routes.py       the table of paths and handlers
    calls.py        the kinds of lines of the table
    endpoints.py    a line of the table -> an endpoint with limits, and errors in MLflow's form
    graphql.py      the same calls for the UI's GraphQL; schema.graphql
    request.py      query or body -> a message (msgspec), with MLflow's error messages
    answer.py       dict -> JSON; NaN, infinities, gzip
    errors.py       an error of the core -> MLflow's code, message and HTTP status
    names.py        MLflow's rules for keys and values
    entries.py      its rules for params and tags of runs; run_ids.py: for ids of runs
    run_writes.py   what is logged to a run: checked here, stored by a sink (database_sink.py: PostgreSQL)
    run_answers.py  one or thousands of runs with their latest metrics, in the form of its messages
    experiments.py, runs.py, ...   the messages of an area and their handlers: decode, call the core, encode

Nothing here imports the package `mlflow`.
"""
