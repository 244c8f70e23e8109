"""The HTTP server: everything around the routes of `mlflow/` and `web/`, and pages of the service itself.

A request goes through these:

    protocol.py        uvicorn's protocol with one write per answer, and with bounds that uvicorn lacks
    app.py             the application: routes and what is around them
    forwarded.py       headers of trusted proxies
    paths.py           slashes, and prefixes under which the service is reached
    origin_check.py    web pages of attackers that make a browser send requests
    admission.py       how many requests at a time, of all callers and of each workspace
    authentication.py  puts the caller in place; callers.py reads it
    refusals.py        answers to what is refused before it reaches a route
    safe_headers.py    headers of every answer that limit what a browser makes of it

Pages:

    pages.py           for Prometheus, Kubernetes and people; monitoring.py serves some on a port of their own
    mlflow_ui.py       the static files of MLflow's web UI
    sign_in.py         where people sign in; sign_in_pages.py, sign_in_paths.py, session_cookie.py
    command_line.py    where somebody allows `runstream login`
    page_html.py       what these pages look like
"""
