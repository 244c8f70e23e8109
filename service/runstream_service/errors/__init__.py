"""The errors of calls, and the statuses that callers get for them.

core.py      the errors of calls: whose fault each is, and whether trying again helps
statuses.py  the table: for each error the status over gRPC and over MLflow's routes
startup.py   the error of a service or command that cannot start
"""
