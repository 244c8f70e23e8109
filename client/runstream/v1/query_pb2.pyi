from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

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
    __slots__ = ("points",)
    POINTS_FIELD_NUMBER: _ClassVar[int]
    points: _containers.RepeatedCompositeFieldContainer[LatestPoint]
    def __init__(self, points: _Optional[_Iterable[_Union[LatestPoint, _Mapping]]] = ...) -> None: ...

class LatestPoint(_message.Message):
    __slots__ = ("series", "step", "time_unix_us", "value")
    SERIES_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TIME_UNIX_US_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    series: Series
    step: int
    time_unix_us: int
    value: float
    def __init__(self, series: _Optional[_Union[Series, _Mapping]] = ..., step: _Optional[int] = ..., time_unix_us: _Optional[int] = ..., value: _Optional[float] = ...) -> None: ...
