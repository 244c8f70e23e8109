"""The path of a point, in reading order.

decode.py       message bytes -> columns
stream.py       one producer's stream: declared series, batch numbers, refusals, acks
write.py        one metric write of MLflow's HTTP routes; it has no producer
metric_writes.py  its series, looked up and remembered
gate.py         stops the reading of streams while roll-up is too far behind
budget.py       how many points may wait; a full one stops the reading of streams
group.py        waiting batches -> one group: what to ask of the ledger, what to copy
copy_binary.py  columns -> COPY BINARY rows
writer.py       collects until the database is free, then commits a group
series.py       keys become series
pipeline.py     opens streams, spreads producers over writers, drains
"""
