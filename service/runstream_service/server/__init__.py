"""The processes of a replica, and what runs in which.

settings.py          all settings, read and checked before anything starts
supervisor.py        startup, main loop, shutdown: sockets, signals, the embedded PostgreSQL, migrations
front_ends.py        what the supervisor knows of its front ends, whether there is one in its process or many in others
frontend.py          gRPC, HTTP, ingest, tails, queries
wiring.py            the core and the reads, which all front ends call
pool_shares.py       how the connections to PostgreSQL are shared
background.py        roll-up, purge and retention, silent runs
worker_pool.py       several front ends: starts workers, watches them, replaces those that end or hang
worker.py            the process of a worker: a front end, and the channel to its supervisor
channel.py           questions and messages between the two
combined_metrics.py  one /metrics for all processes
lasting_tasks.py     tasks that run as long as their process
sockets.py           ports: of one process, or shared by several
process_tuning.py    settings of the process itself
loop_delay.py        how late its event loop is
grpc_events.py       keeps the wake-ups of grpc.aio from piling up
"""
