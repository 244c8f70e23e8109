from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Axis(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AXIS_UNSPECIFIED: _ClassVar[Axis]
    AXIS_STEP: _ClassVar[Axis]
    AXIS_TIME: _ClassVar[Axis]
AXIS_UNSPECIFIED: Axis
AXIS_STEP: Axis
AXIS_TIME: Axis

class Series(_message.Message):
    __slots__ = ("run_id", "key", "rank", "attempt")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    key: str
    rank: int
    attempt: int
    def __init__(self, run_id: _Optional[str] = ..., key: _Optional[str] = ..., rank: _Optional[int] = ..., attempt: _Optional[int] = ...) -> None: ...

class HistoryRequest(_message.Message):
    __slots__ = ("run_id", "keys", "rank", "attempt", "min_step", "max_step")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    MIN_STEP_FIELD_NUMBER: _ClassVar[int]
    MAX_STEP_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    keys: _containers.RepeatedScalarFieldContainer[str]
    rank: int
    attempt: int
    min_step: int
    max_step: int
    def __init__(self, run_id: _Optional[str] = ..., keys: _Optional[_Iterable[str]] = ..., rank: _Optional[int] = ..., attempt: _Optional[int] = ..., min_step: _Optional[int] = ..., max_step: _Optional[int] = ...) -> None: ...

class HistoryResponse(_message.Message):
    __slots__ = ("series", "point_count", "step", "time_unix_us", "value")
    SERIES_FIELD_NUMBER: _ClassVar[int]
    POINT_COUNT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TIME_UNIX_US_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    series: Series
    point_count: int
    step: _containers.RepeatedScalarFieldContainer[int]
    time_unix_us: _containers.RepeatedScalarFieldContainer[int]
    value: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, series: _Optional[_Union[Series, _Mapping]] = ..., point_count: _Optional[int] = ..., step: _Optional[_Iterable[int]] = ..., time_unix_us: _Optional[_Iterable[int]] = ..., value: _Optional[_Iterable[float]] = ...) -> None: ...

class LatestRequest(_message.Message):
    __slots__ = ("run_ids", "keys")
    RUN_IDS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    run_ids: _containers.RepeatedScalarFieldContainer[str]
    keys: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, run_ids: _Optional[_Iterable[str]] = ..., keys: _Optional[_Iterable[str]] = ...) -> None: ...

class LatestResponse(_message.Message):
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
    run_index: _containers.RepeatedScalarFieldContainer[int]
    key_index: _containers.RepeatedScalarFieldContainer[int]
    rank: _containers.RepeatedScalarFieldContainer[int]
    attempt: _containers.RepeatedScalarFieldContainer[int]
    step: _containers.RepeatedScalarFieldContainer[int]
    time_unix_us: _containers.RepeatedScalarFieldContainer[int]
    value: _containers.RepeatedScalarFieldContainer[float]
    min_value: _containers.RepeatedScalarFieldContainer[float]
    min_step: _containers.RepeatedScalarFieldContainer[int]
    max_value: _containers.RepeatedScalarFieldContainer[float]
    max_step: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, run_ids: _Optional[_Iterable[str]] = ..., keys: _Optional[_Iterable[str]] = ..., point_count: _Optional[int] = ..., run_index: _Optional[_Iterable[int]] = ..., key_index: _Optional[_Iterable[int]] = ..., rank: _Optional[_Iterable[int]] = ..., attempt: _Optional[_Iterable[int]] = ..., step: _Optional[_Iterable[int]] = ..., time_unix_us: _Optional[_Iterable[int]] = ..., value: _Optional[_Iterable[float]] = ..., min_value: _Optional[_Iterable[float]] = ..., min_step: _Optional[_Iterable[int]] = ..., max_value: _Optional[_Iterable[float]] = ..., max_step: _Optional[_Iterable[int]] = ...) -> None: ...

class ChartRequest(_message.Message):
    __slots__ = ("run_ids", "keys", "rank", "attempt", "axis", "min_position", "max_position", "max_buckets", "log_origin")
    RUN_IDS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    AXIS_FIELD_NUMBER: _ClassVar[int]
    MIN_POSITION_FIELD_NUMBER: _ClassVar[int]
    MAX_POSITION_FIELD_NUMBER: _ClassVar[int]
    MAX_BUCKETS_FIELD_NUMBER: _ClassVar[int]
    LOG_ORIGIN_FIELD_NUMBER: _ClassVar[int]
    run_ids: _containers.RepeatedScalarFieldContainer[str]
    keys: _containers.RepeatedScalarFieldContainer[str]
    rank: int
    attempt: int
    axis: Axis
    min_position: int
    max_position: int
    max_buckets: int
    log_origin: int
    def __init__(self, run_ids: _Optional[_Iterable[str]] = ..., keys: _Optional[_Iterable[str]] = ..., rank: _Optional[int] = ..., attempt: _Optional[int] = ..., axis: _Optional[_Union[Axis, str]] = ..., min_position: _Optional[int] = ..., max_position: _Optional[int] = ..., max_buckets: _Optional[int] = ..., log_origin: _Optional[int] = ...) -> None: ...

class ChartResponse(_message.Message):
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
    series: Series
    bucket_count: int
    first_position: _containers.RepeatedScalarFieldContainer[int]
    last_position: _containers.RepeatedScalarFieldContainer[int]
    point_count: _containers.RepeatedScalarFieldContainer[int]
    non_finite_count: _containers.RepeatedScalarFieldContainer[int]
    first: _containers.RepeatedScalarFieldContainer[float]
    last: _containers.RepeatedScalarFieldContainer[float]
    min: _containers.RepeatedScalarFieldContainer[float]
    max: _containers.RepeatedScalarFieldContainer[float]
    mean: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, series: _Optional[_Union[Series, _Mapping]] = ..., bucket_count: _Optional[int] = ..., first_position: _Optional[_Iterable[int]] = ..., last_position: _Optional[_Iterable[int]] = ..., point_count: _Optional[_Iterable[int]] = ..., non_finite_count: _Optional[_Iterable[int]] = ..., first: _Optional[_Iterable[float]] = ..., last: _Optional[_Iterable[float]] = ..., min: _Optional[_Iterable[float]] = ..., max: _Optional[_Iterable[float]] = ..., mean: _Optional[_Iterable[float]] = ...) -> None: ...

class AggregateRequest(_message.Message):
    __slots__ = ("run_id", "key", "min_step", "max_step", "max_buckets", "log_origin")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    MIN_STEP_FIELD_NUMBER: _ClassVar[int]
    MAX_STEP_FIELD_NUMBER: _ClassVar[int]
    MAX_BUCKETS_FIELD_NUMBER: _ClassVar[int]
    LOG_ORIGIN_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    key: str
    min_step: int
    max_step: int
    max_buckets: int
    log_origin: int
    def __init__(self, run_id: _Optional[str] = ..., key: _Optional[str] = ..., min_step: _Optional[int] = ..., max_step: _Optional[int] = ..., max_buckets: _Optional[int] = ..., log_origin: _Optional[int] = ...) -> None: ...

class AggregateResponse(_message.Message):
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
    first_step: _containers.RepeatedScalarFieldContainer[int]
    last_step: _containers.RepeatedScalarFieldContainer[int]
    rank_count: _containers.RepeatedScalarFieldContainer[int]
    min: _containers.RepeatedScalarFieldContainer[float]
    max: _containers.RepeatedScalarFieldContainer[float]
    mean: _containers.RepeatedScalarFieldContainer[float]
    min_rank: _containers.RepeatedScalarFieldContainer[int]
    max_rank: _containers.RepeatedScalarFieldContainer[int]
    non_finite_count: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, bucket_count: _Optional[int] = ..., first_step: _Optional[_Iterable[int]] = ..., last_step: _Optional[_Iterable[int]] = ..., rank_count: _Optional[_Iterable[int]] = ..., min: _Optional[_Iterable[float]] = ..., max: _Optional[_Iterable[float]] = ..., mean: _Optional[_Iterable[float]] = ..., min_rank: _Optional[_Iterable[int]] = ..., max_rank: _Optional[_Iterable[int]] = ..., non_finite_count: _Optional[_Iterable[int]] = ...) -> None: ...

class TailRequest(_message.Message):
    __slots__ = ("run_id", "keys", "rank", "cursor")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    keys: _containers.RepeatedScalarFieldContainer[str]
    rank: int
    cursor: bytes
    def __init__(self, run_id: _Optional[str] = ..., keys: _Optional[_Iterable[str]] = ..., rank: _Optional[int] = ..., cursor: _Optional[bytes] = ...) -> None: ...

class TailResponse(_message.Message):
    __slots__ = ("series", "cursor")
    SERIES_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    series: _containers.RepeatedCompositeFieldContainer[HistoryResponse]
    cursor: bytes
    def __init__(self, series: _Optional[_Iterable[_Union[HistoryResponse, _Mapping]]] = ..., cursor: _Optional[bytes] = ...) -> None: ...
