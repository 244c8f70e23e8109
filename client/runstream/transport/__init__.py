"""The transport: sends journals to the service. It runs in the agent, in `runstream sync`, and in a thread of the
trainer where no process can be started.

    transport      reads journals, saves positions, deletes what is settled
    feed           one journal: what was read, sent and answered
    producer       the numbers of its batches; `settled` counts what is settled. Pure state
    run_calls      its unary calls: which comes next, and what a response means. Pure state
    endpoints      which service and credentials a journal is sent with
    access         the token of one endpoint, and the wait while the service refuses it
    stream         the Append stream of one endpoint, with the producers of many journals
    batch_chooser  the batches of its next message
    messages       the bytes of its messages
    callers        makes the unary calls of one endpoint
    channels       one gRPC channel per endpoint
    notices        messages to the user, which are saved in the position
    earlier_steps  the warning about steps that are logged twice
    limits         bounds and times; `pause` when to try again
"""

from runstream import _protobuf_version as _protobuf_version  # first: generated code is loaded later
