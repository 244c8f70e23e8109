"""The HTTP server: everything around the routes of mlflow/ and web/, and the pages of the service itself.

A request goes through these:

    protocol.py        uvicorn's protocol with one write per response, and with bounds that uvicorn lacks
    app.py             the application: routes and what is around them
    forwarded.py       headers of trusted proxies
    paths.py           slashes, and prefixes under which the service is reached
    admission.py       how many requests at a time, of all callers and of each workspace
    authentication.py  finds out who sent the request
    origin_check.py    refuses requests that web pages of attackers make a browser send
    refusals.py        responses to what is refused before it reaches a route
    safe_headers.py    headers of every response that limit what a browser makes of it

What the routes of mlflow/ and web/ share:

    callers.py         who sent a request
    bodies.py          limits the memory of all bodies together
    json_responses.py  dict -> JSON
    mlflow_errors.py   an error -> MLflow's code, message and HTTP status
    page_errors.py     an error -> a response in the form of the page's API
    internal_error.py  an exception that nobody expected -> an id in the log

Pages:

    pages.py           for Prometheus, Kubernetes and people; monitoring.py serves some on a port of their own
    mlflow_ui.py       the static files of MLflow's web UI
    sign_in.py         where people sign in; sign_in_pages.py, sign_in_paths.py, session_cookie.py
    command_line.py    where somebody allows `runstream login`
    small_bodies.py    reads the forms of these pages
    page_html.py       what these pages look like
"""
