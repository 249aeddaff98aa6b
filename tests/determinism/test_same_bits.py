"""Parameters, client states and records are the same bits however the work is done."""

from functools import cache

import pytest

from tests.determinism.support import MODELS, fingerprint, run


@cache
def undisturbed(model: str) -> str:
    return fingerprint(run(model))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("workers", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_the_number_of_threads_does_not_change_a_bit(model: str, workers: int) -> None:
    assert fingerprint(run(model, workers=workers)) == undisturbed(model)


@pytest.mark.parametrize("model", MODELS)
def test_really_encoding_every_message_does_not_change_a_bit(model: str) -> None:
    assert fingerprint(run(model, encode=True)) == undisturbed(model)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("block", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 5)), 7])
def test_the_size_of_the_blocks_does_not_change_a_bit(model: str, block: int) -> None:
    assert fingerprint(run(model, block=block)) == undisturbed(model)


@pytest.mark.parametrize("model", MODELS)
def test_another_seed_changes_the_result(model: str) -> None:
    assert fingerprint(run(model, seed=4)) != undisturbed(model)
