"""Baselines of sparse adapters are the transcription's: a frozen or shrinking mask, unequal ranks, a frozen A."""

import numpy as np
import pytest
import torch
from adapter_cases import (
    A_AND_HEAD,
    ADAPTERS,
    CLIENTS,
    COHORTS,
    EVERYBODY,
    LAYOUT,
    PROBLEM,
    START,
    D,
    assert_iterates,
    run,
)
from strategy_cases import assert_same_bits

from fedsparse.errors import ConfigError
from fedsparse.protocol import Strategy
from fedsparse.strategies.adapter_lth import AdapterLTH
from fedsparse.strategies.fedavg import FedAvg
from fedsparse.strategies.ffa_lora import FFALora
from fedsparse.strategies.hetlora import HetLora
from fedsparse.strategies.sparse_adapter import SparseAdapter
from tests.reference.lora import AdamW, Local, Marks, masked, ranked, top

LOCAL = {"lr": 0.1, "steps": 3, "momentum": 0.9}
SERVER = {"server_lr": 0.05}
REFERENCE = Local(PROBLEM.of, **LOCAL)
B = [j for name in ("p.lora_B", "q.lora_B") for j in range(D)[LAYOUT[name].slice]]

EVERY: dict[str, Strategy] = {
    "sparse_adapter": SparseAdapter(**LOCAL, **SERVER),
    "adapter_lth": AdapterLTH(shrink=0.8, **LOCAL, **SERVER),
    "hetlora": HetLora(ranks=(1, 2), **LOCAL, **SERVER),
    "ffa_lora": FFALora(**LOCAL, **SERVER),
}


def test_a_mask_that_is_taken_after_the_first_round_is_the_transcriptions():
    def after(r: int, x: np.ndarray, mask: Marks) -> Marks:
        return top(x, int(0.25 * D)) if r == 0 else mask

    result = run(EVERY["sparse_adapter"])
    assert_iterates(result, masked(REFERENCE, START, COHORTS, AdamW(lr=0.05), after).x)
    assert int(result.server["mask"].sum()) == int(0.25 * D)


def test_a_mask_of_the_start_never_trains_b():
    """B is zero there, so half of the entries are of A and the head."""
    mask = top(START, D // 2)
    assert set(np.flatnonzero(mask)) <= set(A_AND_HEAD)
    result = run(SparseAdapter(density=0.5, after=0, **LOCAL, **SERVER))
    assert_iterates(result, masked(REFERENCE, START, COHORTS, AdamW(lr=0.05), lambda _r, _x, m: m, mask).x)
    assert all((model[B] == 0).all() for model in result.models)


def test_a_mask_that_shrinks_is_the_transcriptions():
    def after(r: int, x: np.ndarray, mask: Marks) -> Marks:
        return top(x, int(max(0.25, 0.8 ** (r + 1)) * D), list(np.flatnonzero(mask)))

    result = run(EVERY["adapter_lth"])
    assert_iterates(result, masked(REFERENCE, START, COHORTS, AdamW(lr=0.05), after).x)
    assert int(result.server["mask"].sum()) == int(0.25 * D)


def ranks(*given: int) -> list[Marks]:
    """The first rows of A and columns of B, spelt out for these layers of rank 2."""
    found = []
    for rank in given:
        mask = np.ones(D, dtype=bool)
        for name in "pq":
            a, b = np.zeros((2, 4), dtype=bool), np.zeros((3, 2), dtype=bool)
            a[:rank], b[:, :rank] = True, True
            mask[LAYOUT[f"{name}.lora_A"].slice], mask[LAYOUT[f"{name}.lora_B"].slice] = a.ravel(), b.ravel()
        found.append(mask)
    return found


def test_ranks_that_differ_are_the_transcriptions():
    expected = ranked(REFERENCE, START, COHORTS, AdamW(lr=0.05), ranks(1, 2))
    assert_iterates(run(EVERY["hetlora"]), expected.x)


def test_a_rank_above_the_models_is_all_of_it():
    assert_same_bits(run(HetLora(ranks=(2,), **LOCAL)), run(HetLora(ranks=(16,), **LOCAL)))


def test_a_rank_costs_its_share_of_the_adapters():
    """28 entries of adapters, half of them at rank 1, and 6 of the head; 8 bytes each behind a head of four."""
    for rank, count in ((1, 14 + 6), (2, 28 + 6)):
        traffic = run(HetLora(ranks=(rank,), **LOCAL), EVERYBODY).history[-1].traffic
        assert traffic["up_payload_bytes"] == traffic["down_payload_bytes"] == CLIENTS * (4 + 8 * count)


def test_a_stays_and_the_rest_is_the_transcriptions():
    free = np.ones(D, dtype=bool)
    for name in ("p.lora_A", "q.lora_A"):
        free[LAYOUT[name].slice] = False
    server, x, seen = AdamW(lr=0.05), START, []
    for cohort in COHORTS:
        mean = sum(x - REFERENCE.end(i, x, free) for i in cohort) / len(cohort)
        x = np.where(free, server.step(x, mean), x)
        seen.append(x)
    result = run(EVERY["ffa_lora"])
    assert_iterates(result, np.stack(seen))
    assert (result.server["x"].numpy()[~free] == START[~free]).all()


def test_with_a_that_stays_the_mean_of_products_is_the_product_of_means():
    ends = [REFERENCE.end(i, START, np.isin(np.arange(D), B)) for i in range(CLIENTS)]
    frozen = FFALora(optimizer="sgd", server_lr=1.0, **LOCAL)
    x = run(frozen, EVERYBODY[:1]).models[0].numpy()
    for name in "pq":
        at_a, at_b = LAYOUT[f"{name}.lora_A"].slice, LAYOUT[f"{name}.lora_B"].slice
        mean = sum(y[at_b].reshape(3, 2) @ y[at_a].reshape(2, 4) for y in ends) / CLIENTS
        np.testing.assert_allclose(x[at_b].reshape(3, 2) @ x[at_a].reshape(2, 4), mean, rtol=0, atol=1e-14)


def test_a_that_stays_is_not_sent():
    """34 entries but for the 16 of A; 8 bytes each behind a head of three."""
    traffic = run(EVERY["ffa_lora"], EVERYBODY).history[0].traffic
    assert traffic["up_payload_bytes"] == traffic["down_payload_bytes"] == CLIENTS * (3 + 8 * (D - 16))
    assert len(ADAPTERS) == 28


def test_passes_are_refused_where_a_stays():
    with pytest.raises(ConfigError, match="local steps"):
        FFALora(epochs=1)


@pytest.mark.parametrize("name", ["sparse_adapter", "hetlora"])
def test_without_pruning_it_is_fedavg_without_weights(name: str):
    plain = {"optimizer": "sgd", "server_lr": 1.0, **LOCAL}
    ours = {"sparse_adapter": SparseAdapter(density=1.0, **plain), "hetlora": HetLora(ranks=(2,), **plain)}
    for one, other in zip(run(ours[name]).models, run(FedAvg(weighting="one", **LOCAL)).models, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", EVERY)
def test_the_same_bits_for_blocks_and_workers(name: str):
    assert_same_bits(run(EVERY[name]), run(EVERY[name], block=2, workers=2))
