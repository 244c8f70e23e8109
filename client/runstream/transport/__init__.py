"""The transport: brings journals to the service. It runs in the agent, in `runstream sync`, and in a thread of the
trainer where no process can be started.

    transport      reads journals, saves positions, deletes what is settled
    feed           one journal: what was read, sent and answered
    producer       the numbers of its batches; `settled` counts what is settled. Pure state
    run_calls      its unary calls: which comes next, and what an answer means. Pure state
    endpoints      where a journal goes, and as whom
    access         the token of one endpoint, and the wait while the service refuses it
    stream         the Append stream of one endpoint, with the producers of many journals
    callers        makes the unary calls of one endpoint
    messages       the bytes of the stream's messages
    channels       one gRPC channel per endpoint
    notices        what a user should know, for the position
    earlier_steps  the warning about steps that are logged twice
    limits         bounds and times; `pause` when to try again
"""

from runstream import _protobuf_version as _protobuf_version  # first: generated code is loaded later
