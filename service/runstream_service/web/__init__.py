"""The API of runstream's own page: JSON, charts as binary arrays, and live events. docs/web-api.md describes it.

What all routes share:

    routes.py          the table; route_kinds.py: a line of it
    endpoints.py       a line -> an endpoint: the role, the message, limits, encoding, errors (http/page_errors.py)
    request.py         query or body -> a message
    binary.py          curves as arrays
    numbers.py         numbers in JSON
    shared_answers.py  answers that many pages ask for, made once
    large_answers.py   bounds the memory of large answers

Handlers by area; their work is done in core/ and query/:

    me.py, experiments.py, views.py, imports.py, stragglers.py
    runs.py            the table, one run; run_answers.py: their form; run_edits.py: changes
    charts.py          charts
    events.py          server-sent events; live/ makes them

The page itself, in `page/`: page_files.py has its files, page_routes.py serves it.
"""
