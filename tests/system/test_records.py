import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsparse.errors import RunFolderError
from fedsparse.records import Record, read_records, without_wall

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


def test_a_record_comes_back_as_it_was():
    assert Record.from_json(RECORD.to_json()) == RECORD


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_come_back_with_the_same_bits(value):
    back = Record.from_json(replace(RECORD, train_loss=value).to_json()).train_loss
    assert np.float64(back).tobytes() == np.float64(value).tobytes()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_hold_is_null(value):
    line = replace(RECORD, train_loss=value, metrics={"loss": value}).to_json()
    values = json.loads(line, parse_constant=pytest.fail)
    assert (values["train_loss"], values["metrics"]["loss"]) == (None, None)


def test_null_is_read_as_nan():
    line = replace(RECORD, metrics={"loss": math.nan}).to_json()
    assert math.isnan(Record.from_json(line).metrics["loss"])


def test_numbers_of_numpy_are_written_as_numbers():
    record = replace(RECORD, accepted=np.int64(7), train_loss=np.float32(0.5), skipped=np.bool_(False))
    values = json.loads(record.to_json())
    assert (values["accepted"], values["train_loss"], values["skipped"]) == (7, 0.5, False)


def test_the_order_in_which_metrics_were_found_does_not_show():
    assert replace(RECORD, metrics={"accuracy": 0.9, "loss": 0.3}).to_json() == RECORD.to_json()


def test_the_ratio_is_written_too():
    assert json.loads(RECORD.to_json())["ratio"] == 400 / 160


def test_bytes_are_those_since_the_start():
    assert (RECORD.up_bytes, RECORD.down_bytes) == (100, 60)


def test_a_record_is_one_line():
    assert "\n" not in RECORD.to_json()


def test_only_the_wall_time_is_left_out_of_a_comparison():
    assert without_wall(RECORD) == without_wall(replace(RECORD, wall_s=9.0))
    assert without_wall(RECORD) != without_wall(replace(RECORD, virtual_s=9.0))


def test_rounds_without_a_loss_compare_as_equal():
    one = replace(RECORD, train_loss=math.nan)
    assert without_wall(one) == without_wall(Record.from_json(one.to_json()))


def test_the_unfinished_last_line_of_a_killed_run_is_left_out(tmp_path):
    path = tmp_path / "rounds.jsonl"
    path.write_text(RECORD.to_json() + "\n" + RECORD.to_json()[:40])
    assert read_records(path) == [RECORD]


def test_an_empty_file_has_no_records(tmp_path):
    path = tmp_path / "rounds.jsonl"
    path.write_text("")
    assert read_records(path) == []


@pytest.mark.parametrize("line", ["", "[1]", "7", "{}", '{"round": 1}', '{"colour": 3}', "{"])
def test_a_line_that_is_not_a_record_is_refused_with_its_number(tmp_path, line):
    path = tmp_path / "rounds.jsonl"
    path.write_text(RECORD.to_json() + "\n" + line + "\n")
    with pytest.raises(RunFolderError, match="line 2: not the record of a round"):
        read_records(path)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(RunFolderError, match=r"rounds\.jsonl cannot be read"):
        read_records(tmp_path / "rounds.jsonl")
