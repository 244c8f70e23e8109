"""`runstream bench`: what the service reaches on this machine, and what COPY alone reaches in the same run.

load.py      streams that push points and count what was acknowledged
raw_copy.py  the yardstick
log_cost.py  what log() costs its caller
usage.py     processor time and bytes written
metrics_cost.py  what counting costs, by the calls that counted.py counts
tls_cost.py  what TLS costs the service, against plaintext
service.py   a service in a process of its own
faults.py    restarts, stops, slows and kills; fault_parts.py what it does that to, fault_clients.py the load
client_command.py  what the client costs; client_trainer.py its processes, client_places.py where they run
session.py   the PostgreSQL, the service and the rounds
report.py    one JSON object, one table
"""
