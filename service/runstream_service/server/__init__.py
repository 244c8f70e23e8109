"""The processes of a replica, and what runs in which.

settings.py          all settings, read and checked before anything starts
supervisor.py        startup, main loop, shutdown: sockets, signals, the embedded PostgreSQL, migrations
front_ends.py        what the supervisor calls: one front end in its own process, or several in workers
frontend.py          a front end: gRPC, HTTP, ingest, tails, queries
wiring.py            makes the core and the reads of a front end
pool_shares.py       how the connections to PostgreSQL are shared
background.py        roll-up, purge, retention, and the end of silent runs
worker_pool.py       several front ends: starts workers, watches them, replaces those that end or hang
worker.py            the process of a worker: a front end, and its end of the channel
channel.py           questions and messages between the supervisor and a worker
combined_metrics.py  one /metrics for all processes
lasting_tasks.py     tasks that run as long as their process
sockets.py           the ports, of one process or shared by several
process_tuning.py    the allocator, garbage collection and limits of the process
loop_delay.py        measures how late the event loop is
grpc_events.py       keeps the wake-ups of grpc.aio from piling up
"""
