"""What an operator sees of a process. (Each part of the service has its own metrics, in its metrics.py.)

logs.py       structured logs, each record with a stable `action`
metrics.py    the registry; Prometheus metrics of calls, the database and the process
readiness.py  whether this replica can serve, computed from named checks
"""
