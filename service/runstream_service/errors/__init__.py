"""What goes wrong, and what callers see of it.

core.py      the errors of calls: whose fault it is, and whether trying again helps
statuses.py  the table: error of a call -> status over gRPC and over MLflow's routes
startup.py   the error of a service or command that cannot start
"""
