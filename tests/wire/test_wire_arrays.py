"""Moving batches between processes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from wire_cases import COLLECTION, same_bits

from fedsparse.errors import ProtocolError
from fedsparse.message import Dense
from fedsparse.wire import from_arrays, pack, to_arrays, unpack


def test_whole_messages_come_back_bit_for_bit():
    restored = unpack(pack(COLLECTION))
    assert all(same_bits(restored[name], payload) for name, payload in COLLECTION.items())


def test_nothing_is_copied_in_either_direction():
    payload = Dense(torch.ones(1, 3))
    name, fields = to_arrays(payload)
    assert name == "Dense"
    assert fields["values"].ctypes.data == payload.values.data_ptr()
    assert from_arrays((name, fields)).values.data_ptr() == payload.values.data_ptr()


def test_read_only_arrays_are_taken_without_a_copy_or_a_warning():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    array.flags.writeable = False
    payload = from_arrays(("Dense", {"values": array, "kind": "fp32", "scale": None}))
    assert payload.values.data_ptr() == array.ctypes.data


def test_only_arrays_numbers_and_texts_are_handed_over():
    def plain(value: object) -> bool:
        if isinstance(value, tuple):
            return isinstance(value[0], str) and all(plain(v) for v in value[1].values())
        return value is None or type(value) in {np.ndarray, int, bool, str}

    assert all(plain(packed) for packed in pack(COLLECTION).values())


def test_an_unknown_class_is_refused_with_the_known_ones():
    with pytest.raises(ProtocolError, match=r"'Mine'.*Dense"):
        from_arrays(("Mine", {}))
