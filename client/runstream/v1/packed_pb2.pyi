from runstream.v1 import ingest_pb2 as _ingest_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PackedAppendRequest(_message.Message):
    __slots__ = ("open", "declare", "batch", "batches", "close", "oldest_age_us", "sent_us")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    DECLARE_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    CLOSE_FIELD_NUMBER: _ClassVar[int]
    OLDEST_AGE_US_FIELD_NUMBER: _ClassVar[int]
    SENT_US_FIELD_NUMBER: _ClassVar[int]
    open: PackedOpen
    declare: PackedDeclare
    batch: PackedBatch
    batches: PackedBatchSet
    close: _ingest_pb2.Close
    oldest_age_us: int
    sent_us: int
    def __init__(self, open: _Optional[_Union[PackedOpen, _Mapping]] = ..., declare: _Optional[_Union[PackedDeclare, _Mapping]] = ..., batch: _Optional[_Union[PackedBatch, _Mapping]] = ..., batches: _Optional[_Union[PackedBatchSet, _Mapping]] = ..., close: _Optional[_Union[_ingest_pb2.Close, _Mapping]] = ..., oldest_age_us: _Optional[int] = ..., sent_us: _Optional[int] = ...) -> None: ...

class PackedOpen(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PackedDeclare(_message.Message):
    __slots__ = ("producer_index",)
    PRODUCER_INDEX_FIELD_NUMBER: _ClassVar[int]
    producer_index: int
    def __init__(self, producer_index: _Optional[int] = ...) -> None: ...

class PackedBatch(_message.Message):
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
    series_index: bytes
    step: bytes
    time_unix_us: bytes
    value: bytes
    producer_index: int
    def __init__(self, number: _Optional[int] = ..., point_count: _Optional[int] = ..., series_index: _Optional[bytes] = ..., step: _Optional[bytes] = ..., time_unix_us: _Optional[bytes] = ..., value: _Optional[bytes] = ..., producer_index: _Optional[int] = ...) -> None: ...

class PackedBatchSet(_message.Message):
    __slots__ = ("producer_index", "number", "point_count", "oldest_age_us", "series_index", "step", "time_unix_us", "value")
    PRODUCER_INDEX_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    POINT_COUNT_FIELD_NUMBER: _ClassVar[int]
    OLDEST_AGE_US_FIELD_NUMBER: _ClassVar[int]
    SERIES_INDEX_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TIME_UNIX_US_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    producer_index: bytes
    number: bytes
    point_count: bytes
    oldest_age_us: bytes
    series_index: bytes
    step: bytes
    time_unix_us: bytes
    value: bytes
    def __init__(self, producer_index: _Optional[bytes] = ..., number: _Optional[bytes] = ..., point_count: _Optional[bytes] = ..., oldest_age_us: _Optional[bytes] = ..., series_index: _Optional[bytes] = ..., step: _Optional[bytes] = ..., time_unix_us: _Optional[bytes] = ..., value: _Optional[bytes] = ...) -> None: ...

class PackedHistoryResponse(_message.Message):
    __slots__ = ("series", "point_count", "step", "time_unix_us", "value")
    SERIES_FIELD_NUMBER: _ClassVar[int]
    POINT_COUNT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TIME_UNIX_US_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    series: bytes
    point_count: int
    step: bytes
    time_unix_us: bytes
    value: bytes
    def __init__(self, series: _Optional[bytes] = ..., point_count: _Optional[int] = ..., step: _Optional[bytes] = ..., time_unix_us: _Optional[bytes] = ..., value: _Optional[bytes] = ...) -> None: ...

class PackedTailResponse(_message.Message):
    __slots__ = ("series", "cursor")
    SERIES_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    series: _containers.RepeatedCompositeFieldContainer[PackedHistoryResponse]
    cursor: bytes
    def __init__(self, series: _Optional[_Iterable[_Union[PackedHistoryResponse, _Mapping]]] = ..., cursor: _Optional[bytes] = ...) -> None: ...

class PackedLatestResponse(_message.Message):
    __slots__ = ("run_ids", "keys", "point_count", "run_index", "key_index", "rank", "attempt", "step", "time_unix_us", "value", "min_value", "min_step", "max_value", "max_step")
    RUN_IDS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    POINT_COUNT_FIELD_NUMBER: _ClassVar[int]
    RUN_INDEX_FIELD_NUMBER: _ClassVar[int]
    KEY_INDEX_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TIME_UNIX_US_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    MIN_VALUE_FIELD_NUMBER: _ClassVar[int]
    MIN_STEP_FIELD_NUMBER: _ClassVar[int]
    MAX_VALUE_FIELD_NUMBER: _ClassVar[int]
    MAX_STEP_FIELD_NUMBER: _ClassVar[int]
    run_ids: _containers.RepeatedScalarFieldContainer[str]
    keys: _containers.RepeatedScalarFieldContainer[str]
    point_count: int
    run_index: bytes
    key_index: bytes
    rank: bytes
    attempt: bytes
    step: bytes
    time_unix_us: bytes
    value: bytes
    min_value: bytes
    min_step: bytes
    max_value: bytes
    max_step: bytes
    def __init__(self, run_ids: _Optional[_Iterable[str]] = ..., keys: _Optional[_Iterable[str]] = ..., point_count: _Optional[int] = ..., run_index: _Optional[bytes] = ..., key_index: _Optional[bytes] = ..., rank: _Optional[bytes] = ..., attempt: _Optional[bytes] = ..., step: _Optional[bytes] = ..., time_unix_us: _Optional[bytes] = ..., value: _Optional[bytes] = ..., min_value: _Optional[bytes] = ..., min_step: _Optional[bytes] = ..., max_value: _Optional[bytes] = ..., max_step: _Optional[bytes] = ...) -> None: ...

class PackedChartResponse(_message.Message):
    __slots__ = ("series", "bucket_count", "first_position", "last_position", "point_count", "non_finite_count", "first", "last", "min", "max", "mean")
    SERIES_FIELD_NUMBER: _ClassVar[int]
    BUCKET_COUNT_FIELD_NUMBER: _ClassVar[int]
    FIRST_POSITION_FIELD_NUMBER: _ClassVar[int]
    LAST_POSITION_FIELD_NUMBER: _ClassVar[int]
    POINT_COUNT_FIELD_NUMBER: _ClassVar[int]
    NON_FINITE_COUNT_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    series: bytes
    bucket_count: int
    first_position: bytes
    last_position: bytes
    point_count: bytes
    non_finite_count: bytes
    first: bytes
    last: bytes
    min: bytes
    max: bytes
    mean: bytes
    def __init__(self, series: _Optional[bytes] = ..., bucket_count: _Optional[int] = ..., first_position: _Optional[bytes] = ..., last_position: _Optional[bytes] = ..., point_count: _Optional[bytes] = ..., non_finite_count: _Optional[bytes] = ..., first: _Optional[bytes] = ..., last: _Optional[bytes] = ..., min: _Optional[bytes] = ..., max: _Optional[bytes] = ..., mean: _Optional[bytes] = ...) -> None: ...

class PackedAggregateResponse(_message.Message):
    __slots__ = ("bucket_count", "first_step", "last_step", "rank_count", "min", "max", "mean", "min_rank", "max_rank", "non_finite_count")
    BUCKET_COUNT_FIELD_NUMBER: _ClassVar[int]
    FIRST_STEP_FIELD_NUMBER: _ClassVar[int]
    LAST_STEP_FIELD_NUMBER: _ClassVar[int]
    RANK_COUNT_FIELD_NUMBER: _ClassVar[int]
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    MIN_RANK_FIELD_NUMBER: _ClassVar[int]
    MAX_RANK_FIELD_NUMBER: _ClassVar[int]
    NON_FINITE_COUNT_FIELD_NUMBER: _ClassVar[int]
    bucket_count: int
    first_step: bytes
    last_step: bytes
    rank_count: bytes
    min: bytes
    max: bytes
    mean: bytes
    min_rank: bytes
    max_rank: bytes
    non_finite_count: bytes
    def __init__(self, bucket_count: _Optional[int] = ..., first_step: _Optional[bytes] = ..., last_step: _Optional[bytes] = ..., rank_count: _Optional[bytes] = ..., min: _Optional[bytes] = ..., max: _Optional[bytes] = ..., mean: _Optional[bytes] = ..., min_rank: _Optional[bytes] = ..., max_rank: _Optional[bytes] = ..., non_finite_count: _Optional[bytes] = ...) -> None: ...
