"""gRPC: decodes, calls the core, encodes.

interceptor.py      what all calls have in common: who calls, bounds, errors, metrics
roles.py            the role that each RPC needs
caller.py, peer.py  who calls, and from where
status.py           an error -> a gRPC status with details
unread.py           ends streams whose clients do not read
health.py           grpc.health.v1
ingest_servicer.py  IngestService: the way in of points; calls ingest/
run_servicer.py     RunService; calls core/
query_servicer.py   QueryService; calls query/. tail_handler.py has its Tail
access_servicer.py  AccessService; calls auth/
"""
