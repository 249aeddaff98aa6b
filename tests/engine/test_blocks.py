"""How an audience is cut into blocks."""

import re
from dataclasses import dataclass

import pytest
import torch
from server_cases import Log, Pieces, Pulls

from fedsparse.engine.session import default_block
from fedsparse.errors import ResourceError
from fedsparse.simulation import simulate


@pytest.mark.parametrize(
    ("cohort", "size", "lengths"),
    [(50, 13, [13, 13, 12, 12]), (6, 4, [3, 3]), (7, 5, [4, 3]), (6, 6, [6]), (5, 1, [1] * 5), (3, 9, [3])],
)
def test_blocks_are_as_few_as_their_size_allows_and_of_nearly_equal_lengths(
    cohort: int, size: int, lengths: list[int]
):
    log = Log()
    simulate(Pieces(log=log), Pulls(cohort), rounds=1, block=size)
    seen = [ids for _, _, ids, _ in log.of("client")]
    assert [len(block) for block in seen] == lengths
    assert [i for block in seen for i in block] == list(range(cohort))


@pytest.mark.parametrize(
    ("cohort", "client_bytes", "size"),
    [
        (50, 1 << 20, 25), (64, 1 << 20, 32), (1000, 1 << 20, 32), (8, 1, 5), (50, 16 << 20, 4), (10, 16 << 20, 3),
        (1, 1 << 40, 1), (64, 2_202_448, 32),  # the last: 199,210 parameters and minibatches of 32
    ],
)  # fmt: skip
def test_the_usual_size_follows_from_model_and_cohort(cohort: int, client_bytes: int, size: int):
    assert default_block(cohort, client_bytes) == size


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB."),
            "on the accelerator: CUDA out of memory",
        ),
        (MemoryError("no room"), "no memory for a block of clients: no room. Set engine.state_dir"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "Set engine.state_dir"),
    ],
)
def test_a_block_without_memory_says_what_to_lower(error: Exception, text: str):
    @dataclass(frozen=True)
    class Greedy(Pieces):
        def client_update(self, *_):
            raise error

    with pytest.raises(ResourceError, match=re.escape(text)):
        simulate(Greedy(log=Log()), Pulls(3), rounds=1)


def test_an_accelerator_gets_the_whole_cohort_if_it_fits():
    assert default_block(50, 16 << 20, accelerator=True) == 50
    assert default_block(50, 1 << 30, accelerator=True) == 8
