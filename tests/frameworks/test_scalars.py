"""Scalars of pandas and ml_dtypes, and quantities with units."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pandas as pd
import pint
import pytest

UNITS = pint.UnitRegistry()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (ml_dtypes.bfloat16(1.5), 1.5),
        (ml_dtypes.float8_e4m3fn(0.5), 0.5),
        (ml_dtypes.int4(3), 3.0),
        (np.array(1.5, dtype=ml_dtypes.bfloat16), 1.5),
        (np.array([1.5], dtype=ml_dtypes.bfloat16), 1.5),
        (pd.Series([1.5]), 1.5),
        (pd.Series([1.5]).iloc[0], 1.5),
        (pd.Series([2], dtype="Int64").iloc[0], 2.0),
        (pd.Series([1.0, 2.0]).mean(), 1.5),
        (1.5 * UNITS.dimensionless, 1.5),
        (np.array(1.5) * UNITS.dimensionless, 1.5),
    ],
    ids=repr,
)
def test_scalars_are_values(run, client, value, expected):
    run.log({"value": value}, step=0)
    assert run.flush(20)
    assert list(client.history(run.run_id, "value").values) == [expected]


def test_what_is_no_number_is_refused_alone(run, caplog):
    bad = {
        "na": pd.NA,
        "nat": pd.NaT,
        "time": pd.Timestamp(0),
        "delta": pd.Timedelta(1),
        "series": pd.Series([1.0, 2.0]),
        "text": pd.Series(["a"]),
        "frame": pd.DataFrame({"a": [1.0]}),
        "metres": 1.5 * UNITS.metre,
        "array of metres": np.array([1.5]) * UNITS.metre,
    }
    run.log({**bad, "good": 1.0}, step=0)
    assert run.flush(20)
    assert dict(run.stats().refused) == {"bad_value": len(bad)}
    assert run.stats().acknowledged == 1
    assert "'metres' is pint.Quantity and cannot become a number: DimensionalityError" in caplog.text


def test_a_row_of_a_data_frame_is_a_mapping(run, client):
    run.log(pd.DataFrame({"loss": [0.5], "step": [3]}).iloc[0], step=0)
    assert run.flush(20)
    assert list(client.history(run.run_id, "loss").values) == [0.5]
