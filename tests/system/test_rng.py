"""Streams follow from their names alone."""

import struct
from hashlib import blake2b

import numpy as np
import pytest

from fedsparse import rng

NAMES = [(0, "batches", 0, -1), (7, "batches", 3, 12), (-5, "Zufall ü", 2**40, 999_999)]


@pytest.mark.parametrize(("seed", "purpose", "round_", "client"), NAMES)
def test_a_stream_is_philox_with_the_hash_of_its_name_as_key(
    seed: int, purpose: str, round_: int, client: int
):
    name = struct.pack("<qqq", seed, round_, client) + purpose.encode()
    digest = blake2b(name, digest_size=16, person=b"fedsparse.stream").digest()
    expected = np.random.Generator(np.random.Philox(key=np.frombuffer(digest, dtype="<u8")))
    found = rng.stream(seed, purpose, round_, client)
    assert np.array_equal(found.permutation(100), expected.permutation(100))
    assert np.array_equal(found.random(1000), expected.random(1000))
    assert np.array_equal(found.standard_normal(10), expected.standard_normal(10))


def test_a_stream_starts_anew_each_time_it_is_asked_for():
    first = rng.stream(1, "coins", 2, 3)
    values = first.random(5)
    assert np.array_equal(rng.stream(1, "coins", 2, 3).random(5), values)
    assert not np.array_equal(first.random(5), values)


def test_the_streams_of_a_call_are_those_of_its_clients():
    streams = rng.Streams(4, "noise", 9, [5, 2])
    rows = [rng.stream(4, "noise", 9, client).random(6, dtype=np.float32) for client in (5, 2)]
    assert np.array_equal(streams.uniform(6).numpy(), np.stack(rows))
