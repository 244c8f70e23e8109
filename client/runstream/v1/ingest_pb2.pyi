from runstream.v1 import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RefusalReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REFUSAL_REASON_UNSPECIFIED: _ClassVar[RefusalReason]
    REFUSAL_REASON_KEY_EMPTY: _ClassVar[RefusalReason]
    REFUSAL_REASON_KEY_TOO_LONG: _ClassVar[RefusalReason]
    REFUSAL_REASON_KEY_CONTROL_CHARACTER: _ClassVar[RefusalReason]
    REFUSAL_REASON_TIME_OUT_OF_RANGE: _ClassVar[RefusalReason]
    REFUSAL_REASON_TOO_MANY_SERIES: _ClassVar[RefusalReason]
    REFUSAL_REASON_BATCH_TOO_LARGE: _ClassVar[RefusalReason]
    REFUSAL_REASON_DATABASE: _ClassVar[RefusalReason]
REFUSAL_REASON_UNSPECIFIED: RefusalReason
REFUSAL_REASON_KEY_EMPTY: RefusalReason
REFUSAL_REASON_KEY_TOO_LONG: RefusalReason
REFUSAL_REASON_KEY_CONTROL_CHARACTER: RefusalReason
REFUSAL_REASON_TIME_OUT_OF_RANGE: RefusalReason
REFUSAL_REASON_TOO_MANY_SERIES: RefusalReason
REFUSAL_REASON_BATCH_TOO_LARGE: RefusalReason
REFUSAL_REASON_DATABASE: RefusalReason

class AppendRequest(_message.Message):
    __slots__ = ("open", "declare", "batch", "batches", "close", "oldest_age_us", "sent_us")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    DECLARE_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    CLOSE_FIELD_NUMBER: _ClassVar[int]
    OLDEST_AGE_US_FIELD_NUMBER: _ClassVar[int]
    SENT_US_FIELD_NUMBER: _ClassVar[int]
    open: Open
    declare: Declare
    batch: Batch
    batches: BatchSet
    close: Close
    oldest_age_us: int
    sent_us: int
    def __init__(self, open: _Optional[_Union[Open, _Mapping]] = ..., declare: _Optional[_Union[Declare, _Mapping]] = ..., batch: _Optional[_Union[Batch, _Mapping]] = ..., batches: _Optional[_Union[BatchSet, _Mapping]] = ..., close: _Optional[_Union[Close, _Mapping]] = ..., oldest_age_us: _Optional[int] = ..., sent_us: _Optional[int] = ...) -> None: ...

class AppendResponse(_message.Message):
    __slots__ = ("opened", "ack", "acks", "ended")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    ACKS_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    opened: Opened
    ack: Ack
    acks: Acks
    ended: ProducerEnded
    def __init__(self, opened: _Optional[_Union[Opened, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., acks: _Optional[_Union[Acks, _Mapping]] = ..., ended: _Optional[_Union[ProducerEnded, _Mapping]] = ...) -> None: ...

class Open(_message.Message):
    __slots__ = ("run_id", "producer_id", "rank", "attempt", "first_unacked", "producer_index", "multiplexed")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    PRODUCER_ID_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    FIRST_UNACKED_FIELD_NUMBER: _ClassVar[int]
    PRODUCER_INDEX_FIELD_NUMBER: _ClassVar[int]
    MULTIPLEXED_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    producer_id: bytes
    rank: int
    attempt: int
    first_unacked: int
    producer_index: int
    multiplexed: bool
    def __init__(self, run_id: _Optional[str] = ..., producer_id: _Optional[bytes] = ..., rank: _Optional[int] = ..., attempt: _Optional[int] = ..., first_unacked: _Optional[int] = ..., producer_index: _Optional[int] = ..., multiplexed: bool = ...) -> None: ...

class Opened(_message.Message):
    __slots__ = ("committed_number", "max_batch_points", "max_message_bytes", "max_series", "producer_index", "max_producers")
    COMMITTED_NUMBER_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCH_POINTS_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_SERIES_FIELD_NUMBER: _ClassVar[int]
    PRODUCER_INDEX_FIELD_NUMBER: _ClassVar[int]
    MAX_PRODUCERS_FIELD_NUMBER: _ClassVar[int]
    committed_number: int
    max_batch_points: int
    max_message_bytes: int
    max_series: int
    producer_index: int
    max_producers: int
    def __init__(self, committed_number: _Optional[int] = ..., max_batch_points: _Optional[int] = ..., max_message_bytes: _Optional[int] = ..., max_series: _Optional[int] = ..., producer_index: _Optional[int] = ..., max_producers: _Optional[int] = ...) -> None: ...

class Declare(_message.Message):
    __slots__ = ("series", "producer_index")
    SERIES_FIELD_NUMBER: _ClassVar[int]
    PRODUCER_INDEX_FIELD_NUMBER: _ClassVar[int]
    series: _containers.RepeatedCompositeFieldContainer[SeriesDeclaration]
    producer_index: int
    def __init__(self, series: _Optional[_Iterable[_Union[SeriesDeclaration, _Mapping]]] = ..., producer_index: _Optional[int] = ...) -> None: ...

class SeriesDeclaration(_message.Message):
    __slots__ = ("series_index", "key")
    SERIES_INDEX_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    series_index: int
    key: str
    def __init__(self, series_index: _Optional[int] = ..., key: _Optional[str] = ...) -> None: ...

class Batch(_message.Message):
    __slots__ = ("number", "point_count", "series_index", "step", "time_unix_us", "value", "producer_index")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    POINT_COUNT_FIELD_NUMBER: _ClassVar[int]
    SERIES_INDEX_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TIME_UNIX_US_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    PRODUCER_INDEX_FIELD_NUMBER: _ClassVar[int]
    number: int
    point_count: int
    series_index: _containers.RepeatedScalarFieldContainer[int]
    step: _containers.RepeatedScalarFieldContainer[int]
    time_unix_us: _containers.RepeatedScalarFieldContainer[int]
    value: _containers.RepeatedScalarFieldContainer[float]
    producer_index: int
    def __init__(self, number: _Optional[int] = ..., point_count: _Optional[int] = ..., series_index: _Optional[_Iterable[int]] = ..., step: _Optional[_Iterable[int]] = ..., time_unix_us: _Optional[_Iterable[int]] = ..., value: _Optional[_Iterable[float]] = ..., producer_index: _Optional[int] = ...) -> None: ...

class BatchSet(_message.Message):
    __slots__ = ("producer_index", "number", "point_count", "oldest_age_us", "series_index", "step", "time_unix_us", "value")
    PRODUCER_INDEX_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    POINT_COUNT_FIELD_NUMBER: _ClassVar[int]
    OLDEST_AGE_US_FIELD_NUMBER: _ClassVar[int]
    SERIES_INDEX_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TIME_UNIX_US_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    producer_index: _containers.RepeatedScalarFieldContainer[int]
    number: _containers.RepeatedScalarFieldContainer[int]
    point_count: _containers.RepeatedScalarFieldContainer[int]
    oldest_age_us: _containers.RepeatedScalarFieldContainer[int]
    series_index: _containers.RepeatedScalarFieldContainer[int]
    step: _containers.RepeatedScalarFieldContainer[int]
    time_unix_us: _containers.RepeatedScalarFieldContainer[int]
    value: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, producer_index: _Optional[_Iterable[int]] = ..., number: _Optional[_Iterable[int]] = ..., point_count: _Optional[_Iterable[int]] = ..., oldest_age_us: _Optional[_Iterable[int]] = ..., series_index: _Optional[_Iterable[int]] = ..., step: _Optional[_Iterable[int]] = ..., time_unix_us: _Optional[_Iterable[int]] = ..., value: _Optional[_Iterable[float]] = ...) -> None: ...

class Close(_message.Message):
    __slots__ = ("producer_index",)
    PRODUCER_INDEX_FIELD_NUMBER: _ClassVar[int]
    producer_index: int
    def __init__(self, producer_index: _Optional[int] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("committed_number", "refusals", "producer_index")
    COMMITTED_NUMBER_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    PRODUCER_INDEX_FIELD_NUMBER: _ClassVar[int]
    committed_number: int
    refusals: _containers.RepeatedCompositeFieldContainer[Refusal]
    producer_index: int
    def __init__(self, committed_number: _Optional[int] = ..., refusals: _Optional[_Iterable[_Union[Refusal, _Mapping]]] = ..., producer_index: _Optional[int] = ...) -> None: ...

class Acks(_message.Message):
    __slots__ = ("acks",)
    ACKS_FIELD_NUMBER: _ClassVar[int]
    acks: _containers.RepeatedCompositeFieldContainer[Ack]
    def __init__(self, acks: _Optional[_Iterable[_Union[Ack, _Mapping]]] = ...) -> None: ...

class ProducerEnded(_message.Message):
    __slots__ = ("producer_index", "status")
    PRODUCER_INDEX_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    producer_index: int
    status: _status_pb2.RpcStatus
    def __init__(self, producer_index: _Optional[int] = ..., status: _Optional[_Union[_status_pb2.RpcStatus, _Mapping]] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("reason", "point_count", "example")
    REASON_FIELD_NUMBER: _ClassVar[int]
    POINT_COUNT_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_FIELD_NUMBER: _ClassVar[int]
    reason: RefusalReason
    point_count: int
    example: str
    def __init__(self, reason: _Optional[_Union[RefusalReason, str]] = ..., point_count: _Optional[int] = ..., example: _Optional[str] = ...) -> None: ...
