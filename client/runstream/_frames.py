"""Turns results into tables: a DataFrame of pandas, or a Table of pyarrow. Neither is a dependency; each is imported
when it is first needed.

Columns of numbers and times that a result holds in one piece are not copied: the table and the result share the memory.
"""

from __future__ import annotations

import importlib
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas
    import pyarrow

# The oldest versions: pandas keeps times in microseconds from 2 on, in nanoseconds before, which end in 2262.
_OLDEST = {"pandas": 2, "pyarrow": 14}
_ARROW_TYPES = {"i": "int32", "I": "uint32", "q": "int64", "d": "float64", "?": "bool_", "": "string"}
_NUMPY_TYPES = {"i": "i4", "I": "u4", "q": "i8", "d": "f8"}
_NO_TIME = -(2**63)  # NaT of numpy


class Same(NamedTuple):
    """A value that several consecutive rows of a column have: a whole number or a text."""

    value: int | str
    rows: int


class Column(NamedTuple):
    """A column in pieces. `kind` is "numbers" (pieces are arrays), "times" (arrays of microseconds since 1970, or lists
    of them in which None is a missing one), "same" (pieces are `Same`), or "values" (lists of texts or booleans, in
    which None is a missing one)."""

    name: str
    kind: str
    pieces: Sequence[Any]
    typecode: str = ""  # of arrays and whole numbers; empty: texts; "?": booleans


def numbers(name: str, typecode: str, pieces: Sequence[array[Any]]) -> Column:
    """A column of numbers. Type codes are those of the module array."""
    return Column(name, "numbers", pieces, typecode)


def times(name: str, pieces: Sequence[array[int] | list[int | None]]) -> Column:
    """A column of times in microseconds since 1970; in lists, None is a missing one."""
    return Column(name, "times", pieces, "q")


def same_numbers(name: str, pieces: Sequence[tuple[int, int]]) -> Column:
    """A column of whole numbers of 32 bits, such as ranks: (number, how many rows have it)."""
    return Column(name, "same", [Same(*piece) for piece in pieces], "i")


def same_texts(name: str, pieces: Sequence[tuple[str, int]]) -> Column:
    """A column of texts, such as keys: (text, how many rows have it)."""
    return Column(name, "same", [Same(*piece) for piece in pieces])


def texts(name: str, listed: Sequence[str | None]) -> Column:
    """A column of texts, one for each row; None is a missing one."""
    return Column(name, "values", [listed])


def truths(name: str, listed: Sequence[bool]) -> Column:
    """A column of booleans, one for each row."""
    return Column(name, "values", [listed], "?")


class Tabular:
    """Base of the results that can be turned into a table."""

    def _columns(self) -> list[Column]:
        raise NotImplementedError

    def to_pandas(self) -> pandas.DataFrame:
        """Returns a DataFrame; docs/client.md lists its columns. Raises ImportError without pandas 2 or newer."""
        frames, numpy = _library("pandas", "to_pandas"), importlib.import_module("numpy")
        columns = {column.name: _of_pandas(frames, numpy, column) for column in self._columns()}
        frame: pandas.DataFrame = frames.DataFrame(columns, copy=False)
        return frame

    def to_arrow(self) -> pyarrow.Table:
        """Returns a Table; docs/client.md lists its columns. Raises ImportError without pyarrow 14 or newer."""
        arrow = _library("pyarrow", "to_arrow")
        columns = {column.name: _of_arrow(arrow, column) for column in self._columns()}
        return arrow.table(columns).unify_dictionaries()


def _library(name: str, method: str) -> Any:
    try:
        library = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:  # the package is installed, but something that it needs is not
            raise
        raise ModuleNotFoundError(
            f"{method}() needs the package {name}: pip install '{name}>={_OLDEST[name]}'", name=name
        ) from error
    if int(library.__version__.partition(".")[0]) < _OLDEST[name]:
        raise ImportError(
            f"{method}() needs {name} {_OLDEST[name]} or newer, and {library.__version__} is installed: "
            f"pip install '{name}>={_OLDEST[name]}'",
            name=name,
        )
    return library


def _of_pandas(frames: Any, numpy: Any, column: Column) -> Any:
    if column.kind == "values":
        return frames.Series(column.pieces[0], dtype=bool if column.typecode else None if column.pieces[0] else object)
    if column.kind == "same":
        return _repeated(frames, numpy, column)
    type_ = _NUMPY_TYPES[column.typecode]
    arrays = [
        piece if isinstance(piece, array) else array("q", (_NO_TIME if at is None else at for at in piece))
        for piece in column.pieces
    ]
    views = [numpy.frombuffer(one, type_) for one in arrays if one]
    whole = views[0] if len(views) == 1 else numpy.concatenate([numpy.empty(0, type_), *views])
    if column.kind == "times":
        return frames.DatetimeIndex(whole.view("M8[us]")).tz_localize("UTC")
    return whole


def _repeated(frames: Any, numpy: Any, column: Column) -> Any:
    rows = [piece.rows for piece in column.pieces]
    if column.typecode:
        each = numpy.array([piece.value for piece in column.pieces], _NUMPY_TYPES[column.typecode])
        return numpy.repeat(each, rows)
    places: dict[str, int] = {}
    codes = numpy.array([places.setdefault(piece.value, len(places)) for piece in column.pieces], "i4")
    categories = frames.Index(list(places), dtype=None if places else object)
    return frames.Categorical.from_codes(numpy.repeat(codes, rows), categories=categories)


def _of_arrow(arrow: Any, column: Column) -> Any:
    if column.kind == "times":
        type_ = arrow.timestamp("us", tz="UTC")
    else:
        type_ = getattr(arrow, _ARROW_TYPES[column.typecode])()
    if column.kind == "same" and not column.typecode:
        type_ = arrow.dictionary(arrow.int32(), type_)
    return arrow.chunked_array([_arrow_piece(arrow, type_, piece) for piece in column.pieces], type_)


def _arrow_piece(arrow: Any, type_: Any, piece: Any) -> Any:
    if isinstance(piece, array):  # NaN is a value, not a missing one: nothing is null
        return arrow.Array.from_buffers(type_, len(piece), [None, arrow.py_buffer(piece)])
    if not isinstance(piece, Same):
        return arrow.array(piece, type_)
    if isinstance(piece.value, int):
        return arrow.repeat(arrow.scalar(piece.value, type_), piece.rows)
    places = arrow.repeat(arrow.scalar(0, arrow.int32()), piece.rows)
    return arrow.DictionaryArray.from_arrays(places, arrow.array([piece.value], arrow.string()))
