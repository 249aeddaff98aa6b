"""FLASC is the transcription's, and differs from pruning where it should."""

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
    Products,
    assert_iterates,
    run,
)
from strategy_cases import assert_same_bits

from fedsparse.errors import ConfigError
from fedsparse.protocol import Context, Layout, Start
from fedsparse.strategies._adapters import residual
from fedsparse.strategies.cellm import Cellm
from fedsparse.strategies.fedavg import FedAvg
from fedsparse.strategies.flasc import Flasc
from tests.reference.lora import AdamW, Local, Plain, flasc

LOCAL = {"lr": 0.1, "steps": 3, "momentum": 0.9}
REFERENCE = Local(PROBLEM.of, **LOCAL)


def context(round: int = 0, ids: int = 1) -> Context:  # noqa: A002 - a round is a round
    return Context(0, round, "train", torch.arange(ids), CLIENTS, CLIENTS, LAYOUT)


@pytest.mark.parametrize("up", [0.25, 0.3, 1.0])
@pytest.mark.parametrize("down", [0.2, 1.0])
def test_every_iterate_is_the_transcriptions(down: float, up: float):
    expected = flasc(REFERENCE, START, COHORTS, AdamW(lr=0.05), down=down, up=up)
    result = run(Flasc(down=down, up=up, server_lr=0.05, **LOCAL))
    assert_iterates(result, expected.x)
    np.testing.assert_allclose(result.server["x"].numpy(), expected.server["x"], rtol=0, atol=1e-12)


def test_densities_that_decay_are_the_transcriptions():
    """0.8 · 0.5^⌊r / 3⌋ of 34 entries: 27, 13, 6."""
    expected = flasc(REFERENCE, START, COHORTS, Plain(0.7), down=0.8, up=0.8, gamma=0.5, every=3)
    ours = Flasc(down=0.8, up=0.8, decay=0.5, every=3, optimizer="sgd", server_lr=0.7, **LOCAL)
    assert_iterates(run(ours), expected.x)
    counts = [int(ours.download(PROBLEM.start, context(r)).sum()) for r in (0, 3, 6)]
    assert counts == [27, 13, 6]


def test_clients_of_different_densities_are_the_transcriptions():
    tiers = (0.1, 0.25, 1.0)
    expected = flasc(REFERENCE, START, COHORTS, AdamW(lr=0.05), down=1, up=1, tiers=tiers, adapters=ADAPTERS)
    assert_iterates(run(Flasc(densities=tiers, server_lr=0.05, **LOCAL)), expected.x)


def test_the_server_rule_is_pytorchs_adamw():
    """Also where the mean change is zero: memory and decay move entries."""
    strategy = Flasc(server_lr=0.03)
    x = PROBLEM.start.clone().requires_grad_()
    theirs = torch.optim.AdamW([x], lr=0.03, weight_decay=0.01)
    ours = {"x": PROBLEM.start, **strategy.optimizer_state(PROBLEM.start)}
    for step in range(6):
        change = torch.linspace(-1, 1, D, dtype=torch.float64) * (step < 3)
        x.grad = -change
        theirs.step()
        ours = strategy.stepped(ours, change)
        torch.testing.assert_close(ours["x"], x.detach(), rtol=0, atol=1e-13)


def test_dense_both_ways_with_a_plain_server_is_fedavg_without_weights():
    ours = run(Flasc(down=1.0, up=1.0, optimizer="sgd", server_lr=1.0, **LOCAL))
    plain = run(FedAvg(weighting="one", **LOCAL))
    for one, other in zip(ours.models, plain.models, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-13)


def test_densities_of_one_are_fedavg_also_with_positions_that_travel():
    ours = run(Flasc(densities=(1.0,), optimizer="sgd", server_lr=1.0, **LOCAL))
    plain = run(FedAvg(weighting="one", **LOCAL))
    torch.testing.assert_close(ours.models[-1], plain.models[-1], rtol=0, atol=1e-13)


def test_cellm_is_flasc_in_every_bit():
    assert_same_bits(run(Cellm(**LOCAL)), run(Flasc(**LOCAL)))


@pytest.mark.parametrize("density", [0.1, 0.25, 0.3, 0.5])
def test_what_travels_has_the_floor_of_density_times_d_entries(density: float):
    strategy = Flasc(down=density, up=density)
    x = torch.linspace(1, 2, D, dtype=torch.float64)
    assert int(strategy.download(x, context()).sum()) == int(density * D)
    assert strategy.upload(x.expand(3, -1), context()).sum(1).tolist() == [int(density * D)] * 3


def test_by_tensor_each_keeps_its_share():
    mask = Flasc(down=0.5, per_tensor=True).download(PROBLEM.start, context())[0]
    assert [int(mask[f.slice].sum()) for f in LAYOUT] == [f.size // 2 for f in LAYOUT]


def test_a_change_of_scale_is_the_same_model_and_another_joint_mask():
    """(A, B) -> (4 A, B / 4) has the same product; what is largest of all is not, but what is largest of each is."""
    x, scaled = torch.linspace(1, 2, D, dtype=torch.float64), torch.linspace(1, 2, D, dtype=torch.float64)
    for f in LAYOUT:
        scaled[f.slice] *= {"lora_A": 4.0, "lora_B": 0.25}.get(f.name[2:], 1.0)
    for per_tensor in (True, False):
        one, other = (Flasc(down=0.5, per_tensor=per_tensor).download(v, context()) for v in (x, scaled))
        assert one.equal(other) == per_tensor


def test_the_head_is_dense_for_clients_of_different_densities():
    masks = Flasc(densities=(0.1, 0.5)).download(PROBLEM.start, context())
    assert masks[:, LAYOUT["head.weight"].slice].all()
    assert masks[:, ADAPTERS].sum(1).tolist() == [int(0.1 * 28), 14]


def test_b_is_trained_though_the_first_download_has_none_of_it():
    strategy = Flasc(down=0.5, up=0.5, **LOCAL)
    first = strategy.download(PROBLEM.start, context())[0].nonzero()[:, 0].tolist()
    assert set(first) <= set(A_AND_HEAD)
    last = run(strategy, EVERYBODY).server["x"]
    for name in ("p.lora_B", "q.lora_B"):
        assert (last[LAYOUT[name].slice] != 0).all()


def test_the_servers_vector_stays_dense_and_the_evaluated_one_has_the_last_mask():
    result = run(Flasc(down=0.25, up=1.0, **LOCAL), EVERYBODY)
    assert int((result.server["x"] != 0).sum()) == D
    assert int((result.models[-1] != 0).sum()) == int(0.25 * D)
    dense = run(Flasc(down=0.25, eval_masked=False, **LOCAL), EVERYBODY)
    torch.testing.assert_close(dense.models[-1], dense.server["x"], rtol=0, atol=0)


def test_the_change_is_taken_from_the_masked_start():
    """With next to no local step nothing changes; from x it would be what the mask left out."""
    result = run(Flasc(down=0.25, lr=1e-300, steps=3, optimizer="sgd", server_lr=1.0))
    torch.testing.assert_close(result.server["x"], PROBLEM.start, rtol=0, atol=1e-200)


def test_clients_do_not_weigh_by_their_examples():
    unequal = Products()
    unequal.sizes = torch.arange(1, CLIENTS + 1)
    assert_iterates(
        run(Flasc(**LOCAL), problem=unequal), np.stack([m.numpy() for m in run(Flasc(**LOCAL)).models])
    )


@pytest.mark.parametrize("options", [{"block": 1}, {"block": 2}, {"workers": 2, "block": 2}], ids=str)
def test_the_same_bits_for_blocks_and_workers(options: dict[str, int]):
    strategy = Flasc(densities=(0.1, 0.25, 1.0), **LOCAL)
    assert_same_bits(run(strategy), run(strategy, **options))


def test_bytes_are_values_and_positions_and_whole_vectors_have_none():
    """Values of 8 bytes; 34 positions as a bitmap are 5 bytes, and there are a few of head."""
    sparse = run(Flasc(down=0.5, up=0.25, **LOCAL), EVERYBODY).history[-1].traffic
    dense = run(Flasc(down=1.0, up=1.0, **LOCAL), EVERYBODY).history[-1].traffic
    for way, k in (("down", 17), ("up", 8)):
        assert 8 * k < sparse[f"{way}_payload_bytes"] / CLIENTS <= 8 * k + 5 + 6
    assert dense["down_payload_bytes"] == dense["up_payload_bytes"] == CLIENTS * (2 + 1 + 8 * D)


def test_arithmetic_and_memory_are_those_of_dense_training():
    scalars = run(Flasc(down=0.1, up=0.1, **LOCAL)).history[-1].scalars
    assert scalars["device_bytes"] == 3 * 8 * D  # weights, gradients and velocity
    assert "flops" in scalars


def test_a_density_out_of_range_is_refused():
    with pytest.raises(ConfigError, match="density"):
        Flasc(densities=(0.5, 1.5))


# ---- what averaging A and B apart misses


def stacked(pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[torch.Tensor, Layout]:
    layout = Layout.of({"l.lora_A": pairs[0][0].shape, "l.lora_B": pairs[0][1].shape})
    return torch.tensor(np.stack([np.concatenate([a.ravel(), b.ravel()]) for a, b in pairs])), layout


def test_the_residual_of_two_unit_products():
    """B_1 = e_1, A_1 = e_1', B_2 = e_2, A_2 = e_2': the mean is diag(.5, .5), the product of means .25 everywhere.

    Their difference has four entries of size .25, norm .5; the mean has norm sqrt(.5).
    """
    e = np.eye(2)
    x, layout = stacked([(e[:1], e[:, :1]), (e[1:], e[:, 1:])])
    assert residual(x, layout) == pytest.approx(0.5 / 0.5**0.5)


def test_the_residual_is_the_norm_of_the_covariance_of_rank_at_most_k_minus_one_times_r():
    draw = np.random.default_rng(0)
    a0 = draw.standard_normal((4, 64)) / 8
    pairs = [
        (a0 + 0.1 * draw.standard_normal((4, 64)), 0.1 * draw.standard_normal((64, 4))) for _ in range(10)
    ]
    mean = sum(b @ a for a, b in pairs) / 10
    missed = mean - sum(b for _, b in pairs) @ sum(a for a, _ in pairs) / 100
    assert np.linalg.matrix_rank(missed) == (10 - 1) * 4
    x, layout = stacked(pairs)
    assert residual(x, layout) == pytest.approx(np.linalg.norm(missed) / np.linalg.norm(mean), rel=1e-12)


def test_the_residual_is_zero_where_only_b_differs_and_where_there_is_no_adapter():
    draw = np.random.default_rng(0)
    a = draw.standard_normal((2, 5))
    x, layout = stacked([(a, draw.standard_normal((3, 2))) for _ in range(4)])
    assert residual(x, layout) < 1e-15
    assert residual(torch.ones(3, 4), Layout.of({"w": (2, 2)})) == 0


def test_the_residual_of_a_round_is_recorded():
    """Dense both ways, all clients: the models are where they end, by the transcription."""
    result = run(Flasc(down=1.0, up=1.0, **LOCAL), EVERYBODY[:1])
    ends = torch.from_numpy(np.stack([REFERENCE.end(i, START) for i in range(CLIENTS)]))
    assert result.history[0].scalars["residual"] == pytest.approx(residual(ends, LAYOUT), rel=1e-10)
    assert residual(ends, LAYOUT) > 0.01


def test_the_start_has_a_record_of_nothing():
    state = Flasc().init("server", Start(PROBLEM.start, LAYOUT), context())
    assert float(state["@residual"]) == 0
