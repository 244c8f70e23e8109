"""The path of a point, in the order of the calls. rpc/ingest_servicer.py calls pipeline.py, which calls the others.

pipeline.py     opens streams, distributes producers over writers, drains
decode.py       message bytes -> columns
series.py       keys -> series, within the bound of a run
stream.py       one producer's stream: declared series, batch numbers, refusals, acks
write.py        one metric write of MLflow's HTTP routes; it has no producer
metric_writes.py  its series, looked up and remembered
gate.py         stops the reading of streams while roll-up is too far behind
budget.py       how many points may wait; when it is used up, streams are not read
group.py        waiting batches -> one group: what to ask of the ledger, what to copy
copy_binary.py  columns -> COPY BINARY rows
writer.py       collects until the database is free, then commits a group
"""
