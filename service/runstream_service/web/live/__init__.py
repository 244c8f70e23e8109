"""What happens to runs, as events for any number of open pages.

One tail a run (`feed.py`) serves all pages that show it: its new points are summed up (`summary.py`) and encoded once,
four times a second, and put into the bounded queue of each page (`subscription.py`). `hub.py` brings feeds and pages
together, and looks once a second whether runs have changed. `position.py` is how a page that reconnects says what it
has had. `metrics.py` counts them all.
"""
