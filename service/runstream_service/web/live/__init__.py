"""Live events of runs for any number of open pages, in reading order:

hub.py           brings feeds and pages together, and checks once a second which runs have changed
feed.py          one tail for each run, for all pages that show it
summary.py       four times a second: the new points of a run, summarised and encoded once
subscription.py  one page, with a bounded queue of what is to be sent to it
position.py      what a page that reconnects has received already, as a text
metrics.py       Prometheus metrics of all of this
"""
