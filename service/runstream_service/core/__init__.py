"""Runs, experiments and models: everything but points. All front ends call it. Every function that acts for somebody
takes a Caller first.

What everything here uses:

    caller.py           who asks, in which workspace, with which role
    names.py, model_names.py, workspace_names.py  rules for names that callers choose
    pages.py            pages of lists, and the tokens of the next page
    rows.py             params and tags in rows
    audit.py            who did what, as a log line and as a row
    stream_lifetime.py  ends streams that are too old, and those whose callers may not go on

Experiments and runs:

    experiments.py      groups of runs; experiment_search.py and experiment_activity.py find them
    runs.py             runs with their params and tags; run_rows.py makes them of rows, run_names.py invents names
    launches.py         which run a launch works on
    run_moves.py        moves runs to other experiments
    run_states.py       what may change of a run while somebody looks at it
    inputs.py           inputs and outputs of runs; datasets.py has their kinds
    saved_views.py      views of the page that people saved
    imports.py          experiments and models from another tracking server, with its ids and times, as imported.py
                        has them

Models:

    logged_models.py    what a run made; logged_model_search.py finds them, model_metrics.py has their metrics
    registered_models.py, model_versions.py  the registry; model_search.py finds them
    model_sources.py    checks where the files of a version are
"""
