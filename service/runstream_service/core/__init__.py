"""Runs, experiments and models: everything but points. All front ends call it. A function that acts for a caller takes
a Caller as its first argument.

Used by all modules:

    caller.py           who calls, in which workspace, with which role
    names.py, model_names.py, workspace_names.py  rules for names that callers choose
    pages.py            pages of lists, and the tokens of the next page
    rows.py             params and tags in rows
    audit.py            the audit log: who did what, as a log line and as a row
    stream_lifetime.py  ends streams that are too old, and those whose credentials have ended

Experiments and runs:

    experiments.py      groups of runs; experiment_search.py and experiment_activity.py find them
    runs.py             runs with their params and tags; run_rows.py makes them from rows, run_names.py invents names
    launches.py         finds the run that a launch works on
    run_moves.py        moves runs to other experiments
    run_states.py       name, status and end of many runs, for pages that show them
    inputs.py           inputs and outputs of runs; datasets.py has their types
    saved_views.py      views of the page that users saved
    imports.py          stores experiments and models of another tracking server, with their ids and times; imported.py
                        has their types

Models:

    logged_models.py    models that a run made; logged_model_search.py finds them, model_metrics.py has their metrics
    registered_models.py, model_versions.py  the registry; model_search.py finds them
    model_sources.py    checks where the files of a version are
"""
