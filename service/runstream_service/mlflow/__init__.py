"""MLflow's tracking REST API over the same core as gRPC.

    routes.py       the table: which path is which handler
    calls.py        what a line of the table is
    graphql.py      the same calls as the UI's GraphQL has them; schema.graphql
    request.py      query or body -> a message (msgspec); what is wrong with it, in MLflow's words
    answer.py       dict -> JSON; NaN, infinities, gzip
    errors.py       an error of the core -> MLflow's code, message and HTTP status
    names.py        MLflow's rules for keys and values
    entries.py      its rules for params and tags of runs; run_ids.py: for ids of runs
    run_answers.py  runs with their latest metrics, as its messages have them; one or thousands
    experiments.py, runs.py, ...   the messages of an area and their handlers: decode, call the core, encode

Nothing here imports the package `mlflow`.
"""
