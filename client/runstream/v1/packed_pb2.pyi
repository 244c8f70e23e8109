from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PackedAppendRequest(_message.Message):
    __slots__ = ("open", "declare", "batch")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    DECLARE_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    open: PackedOpen
    declare: PackedDeclare
    batch: PackedBatch
    def __init__(self, open: _Optional[_Union[PackedOpen, _Mapping]] = ..., declare: _Optional[_Union[PackedDeclare, _Mapping]] = ..., batch: _Optional[_Union[PackedBatch, _Mapping]] = ...) -> None: ...

class PackedOpen(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PackedDeclare(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PackedBatch(_message.Message):
    __slots__ = ("number", "point_count", "series_index", "step", "time_unix_us", "value")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    POINT_COUNT_FIELD_NUMBER: _ClassVar[int]
    SERIES_INDEX_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TIME_UNIX_US_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    number: int
    point_count: int
    series_index: bytes
    step: bytes
    time_unix_us: bytes
    value: bytes
    def __init__(self, number: _Optional[int] = ..., point_count: _Optional[int] = ..., series_index: _Optional[bytes] = ..., step: _Optional[bytes] = ..., time_unix_us: _Optional[bytes] = ..., value: _Optional[bytes] = ...) -> None: ...

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
