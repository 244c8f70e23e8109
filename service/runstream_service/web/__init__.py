"""The API of runstream's own page: JSON, charts as binary arrays, and events as they happen. docs/web-api.md has all of
it.

What all routes share:

    routes.py          the table; route_kinds.py: a line of it
    endpoints.py       a line -> an endpoint: the role, the message, limits, encoding
    request.py         query or body -> a message
    errors.py          an error -> an answer
    binary.py, numbers.py  curves as arrays; numbers in JSON
    shared_answers.py  answers that many pages ask for; large_answers.py bounds their memory

Handlers by area; their work is done in core/ and query/:

    me.py, experiments.py, views.py, imports.py, stragglers.py
    runs.py            the table, one run; run_answers.py: their form; run_edits.py: changes
    charts.py          charts
    events.py          server-sent events; live/ is what they are made of

The page itself, in `page/`: page_files.py has its files, page_routes.py serves it.
"""
