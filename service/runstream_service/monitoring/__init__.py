"""What an operator sees of a process. Each part of the service counts in a metrics.py of its own.

logs.py       structured logs, each record with a stable `action`
metrics.py    the registry; Prometheus metrics of calls, the database and the process
readiness.py  whether this replica can serve, computed from named checks
"""
