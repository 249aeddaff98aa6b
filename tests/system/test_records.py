import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsparse.errors import RunFolderError
from fedsparse.records import Record, plain, without_wall

RECORD = Record(
    round=3,
    virtual_s=1.5,
    cohort=10,
    accepted=7,
    lost=1,
    late=1,
    rejected={"nonfinite": 1},
    traffic={"up_payload_bytes": 5},
    traffic_total={
        "up_payload_bytes": 80,
        "up_header_bytes": 20,
        "up_dense_bytes": 400,
        "down_payload_bytes": 60,
    },
    train_loss=0.1,
    metrics={"loss": 0.3, "accuracy": 0.9},
    wall_s=0.25,
)


def line_of(record: Record) -> str:
    return json.dumps(plain(record), allow_nan=False)


def read_again(record: Record) -> Record:
    return Record.of(json.loads(line_of(record)))


def test_a_record_comes_back_as_it_was():
    assert read_again(RECORD) == RECORD


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_come_back_with_the_same_bits(value):
    back = read_again(replace(RECORD, train_loss=value)).train_loss
    assert np.float64(back).tobytes() == np.float64(value).tobytes()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_hold_is_null(value):
    line = line_of(replace(RECORD, train_loss=value, metrics={"loss": value}))
    values = json.loads(line, parse_constant=pytest.fail)
    assert (values["train_loss"], values["metrics"]["loss"]) == (None, None)


def test_null_is_read_as_nan():
    assert math.isnan(read_again(replace(RECORD, metrics={"loss": math.nan})).metrics["loss"])


def test_numbers_of_numpy_are_written_as_numbers():
    record = replace(RECORD, accepted=np.int64(7), train_loss=np.float32(0.5), skipped=np.bool_(False))
    values = json.loads(line_of(record))
    assert (values["accepted"], values["train_loss"], values["skipped"]) == (7, 0.5, False)


def test_the_order_in_which_metrics_were_found_does_not_show():
    assert line_of(replace(RECORD, metrics={"accuracy": 0.9, "loss": 0.3})) == line_of(RECORD)


def test_bytes_are_those_since_the_start():
    assert (RECORD.up_bytes, RECORD.down_bytes) == (100, 60)


def test_only_the_wall_time_is_left_out_of_a_comparison():
    assert without_wall(RECORD) == without_wall(replace(RECORD, wall_s=9.0))
    assert without_wall(RECORD) != without_wall(replace(RECORD, virtual_s=9.0))


def test_rounds_without_a_loss_compare_as_equal():
    one = replace(RECORD, train_loss=math.nan)
    assert without_wall(one) == without_wall(read_again(one))


@pytest.mark.parametrize("values", [{}, {"round": 1}, {"colour": 3}, plain(RECORD) | {"colour": 3}])
def test_values_that_are_not_a_record_are_refused(values):
    with pytest.raises(RunFolderError, match="not the record of a round"):
        Record.of(values)
