"""Which points are new? Each of them once, about as soon as it is committed.

tail.py            the streams, their queues, and the reading that they share; its docstring explains the whole
cursor.py          where a stream stands: what it has been sent
commit_reader.py   finds new commits and reads their rows
messages.py        what one stream gets of these rows
metrics.py         Prometheus metrics
"""
