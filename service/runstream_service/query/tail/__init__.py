"""New points, each once, soon after they are committed.

tail.py           the streams, their queues, and the reading that they share; start here
cursor.py         the position of a stream: what it has been sent
commit_reader.py  finds new commits and reads their rows
messages.py       makes the messages of one stream from these rows
metrics.py        Prometheus metrics of tails
"""
