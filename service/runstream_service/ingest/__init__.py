"""The path of a point, in the order of the calls. rpc/ingest_servicer.py and mlflow/database_sink.py call it.

decode.py           message bytes -> columns
append_stream.py    one Append call: its producers, and what is sent back to its client
append_producer.py  one producer of an Append call: is it open, and which of its messages wait
producer.py         an open producer: declared series, batch numbers, refusals, acks
http_writes.py      points of MLflow's HTTP routes, which have no producer
backpressure.py     stops the reading of streams: roll-up is too far behind, or too many points wait
pipeline.py         accepts streams, distributes batches and writes over the writers, bounds all of it, drains
opening.py          opens producers and declares series; series.py: keys -> series, within the bound of a run
writer_router.py    which writer commits a batch or write
writer.py           collects until the database is free, then commits a group
group.py            waiting batches and writes -> one group: what to ask of the ledger, which rows to store
limits.py           how large messages, batches and streams may be
refusals.py         points that will never be stored, by reason
latency.py          how long points take from log() to commit, although the clocks of clients and service differ
metrics.py          Prometheus metrics of ingest
"""
