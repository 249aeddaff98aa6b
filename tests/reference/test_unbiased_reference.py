"""DIANA, MARINA, FedPAQ, FedCOM(GATE) and their two-sided forms reproduce known numbers and identities."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from . import (
    Toy,
    Trace,
    cohorts,
    compressors,
    dcgd,
    diana,
    dore,
    ef21,
    fedavg,
    fedcom,
    fedcomgate,
    fedpaq,
    marina,
    masked_fedavg,
    scaffold,
)
from .compressors import identity
from .oracle import LOCAL, ROUND_OFF, Q, everybody, printed, rand4, sampled, top4
from .toys import Array


def learned(method: Callable[..., Trace], rounds: int, lr: float = 0.1, **options: object) -> Trace:
    """A method with client states, all clients, exact gradients, rand-k of 10 % from seed 3."""
    return method(
        Q.gradient, Q.x0, Q.clients, everybody(rounds), **{"lr": lr, "compress": rand4(3), **options}
    )


def coins(rounds: int) -> NDArray[np.bool_]:
    """MARINA's coins: whole gradients with probability k/d = 0.1, from seed 4."""
    return cohorts.coins(rounds, 0.1, seed=4)


def descent(rounds: int) -> Array:
    """Iterates of gradient descent with a step of 0.1, [rounds + 1, d]."""
    return dcgd(Q.gradient, Q.x0, everybody(rounds), lr=0.1, compress=identity).x


def test_compressed_gradient_descent_is_fedavg_with_one_local_step():
    ours = dcgd(Q.gradient, Q.x0, sampled(2, 50), lr=0.1, compress=rand4(3))
    other = fedavg(Q.gradient, Q.x0, sampled(2, 50), lr=0.1, steps=1, compress=rand4(3))
    np.testing.assert_allclose(ours.x, other.x, rtol=0, atol=1e-13)


def test_compressed_gradient_descent_stalls():
    top, rand = (
        dcgd(Q.gradient, Q.x0, everybody(rounds), lr=0.1, compress=compress)
        for rounds, compress in ((2000, top4()), (1500, rand4(3)))
    )
    assert [Q.error(top.last), Q.error(rand.last)] == printed("1.09", "1.06")


def test_diana_is_exact():
    assert Q.error(learned(diana, 1500, alpha=0.1).last) < ROUND_OFF


def test_diana_without_compression_is_gradient_descent():
    ours = learned(diana, 100, alpha=0.3, compress=identity)
    np.testing.assert_allclose(ours.x, descent(100), rtol=0, atol=ROUND_OFF)


def test_diana_that_never_learns_is_compressed_gradient_descent():
    other = dcgd(Q.gradient, Q.x0, everybody(50), lr=0.1, compress=rand4(3))
    np.testing.assert_allclose(learned(diana, 50, alpha=0.0).x, other.x, rtol=0, atol=1e-13)


def test_diana_that_starts_with_the_gradients_takes_an_exact_first_step():
    ours = learned(diana, 1, alpha=0.1, estimates=Q.gradients(Q.x0))
    np.testing.assert_allclose(ours.last, descent(1)[-1], rtol=0, atol=ROUND_OFF)


def test_diana_server_holds_the_mean_of_the_estimates():
    ours = diana(Q.gradient, Q.x0, Q.clients, sampled(2, 100), lr=0.02, alpha=0.1, compress=rand4(3))
    np.testing.assert_allclose(ours.server["h"], ours.clients["h"].mean(0), rtol=0, atol=ROUND_OFF)


def step_error(trace: Callable[[int], Trace], lr: float, alpha: float) -> float:
    """How far eight steps are from lr (h + change of h / alpha), h being the one before the step."""
    worst = 0.0
    for t in range(8):
        before, after = trace(t), trace(t + 1)
        h, change = before.server["h"], after.server["h"] - before.server["h"]
        worst = max(worst, np.abs(after.last - before.last + lr * (h + change / alpha)).max())
    return worst


def test_diana_steps_with_the_old_estimate_and_the_undamped_correction():
    """The damped correction, as in EF21 with alpha times the compressor, converges too, on another path."""
    damped = learned(ef21, 1500, compress=compressors.scaled(0.1, rand4(3)))
    assert Q.error(damped.last) < ROUND_OFF
    assert step_error(lambda t: learned(diana, t, alpha=0.1), 0.1, 0.1) < 1e-13
    assert step_error(lambda t: flawed_diana(t, "damped"), 0.1, 0.1) > 0.1
    assert step_error(lambda t: flawed_diana(t, "new h"), 0.1, 0.1) > 0.1


def flawed_diana(rounds: int, flaw: str) -> Trace:
    """DIANA (lr 0.1, alpha 0.1) once more, with one mistake."""
    x, h, compress = Q.x0, np.zeros((10, 40)), rand4(3)
    xs = [x]
    for t in range(rounds):
        D = np.stack([compress(t, i, Q.gradient(i, x) - h[i]) for i in range(10)])
        h = h + 0.1 * D
        x = x - 0.1 * (h.mean(0) if flaw == "damped" else h.mean(0) + D.mean(0))
        xs.append(x)
    return Trace(np.stack(xs), server={"h": h.mean(0)})


def test_diana_with_two_clients_is_exact_with_a_smaller_step():
    ours = diana(Q.gradient, Q.x0, Q.clients, sampled(2, 3000), lr=0.02, alpha=0.1, compress=rand4(3))
    assert Q.error(ours.last) < 1e-10


def test_artemis_is_exact_with_a_small_step_and_diverges_with_diana_s():
    small, large = (learned(diana, 1000, lr, alpha=0.1, server_compress=rand4(4)).last for lr in (0.03, 0.1))
    assert Q.error(small) < 1e-10
    assert Q.error(large) > 1e6


def test_ef21_p_with_diana_is_exact():
    assert Q.error(learned(diana, 1500, alpha=0.1, model_compress=top4()).last) < ROUND_OFF


@pytest.mark.parametrize("method", [dcgd, partial(diana, clients=10, alpha=0.3)])
def test_ef21_p_clients_compute_their_gradients_at_their_own_model(method: Callable[..., Trace]):
    """With an uncompressed uplink x moves by the gradient at w, and w by the kept part of x - w."""
    ours = method(Q.gradient, Q.x0, cohorts=everybody(20), lr=0.1, compress=identity, model_compress=top4())
    w = Q.x0
    for t in range(20):
        np.testing.assert_allclose(ours.x[t + 1], ours.x[t] - 0.1 * Q.gradients(w).mean(0), atol=1e-13)
        w = w + top4()(t, 0, ours.x[t + 1] - w)
    np.testing.assert_allclose(ours.server["w"], w, atol=1e-13)


def test_dore_without_server_compression_is_diana():
    ours = learned(dore, 100, alpha=0.1, server_compress=identity)
    np.testing.assert_allclose(ours.x, learned(diana, 100, alpha=0.1).x, rtol=0, atol=1e-13)


def test_dore_without_memory_is_artemis():
    ours = learned(dore, 100, 0.02, alpha=0.1, server_compress=rand4(4), eta=0.0)
    other = learned(diana, 100, 0.02, alpha=0.1, server_compress=rand4(4))
    np.testing.assert_allclose(ours.x, other.x, rtol=0, atol=1e-12)


def test_dore_keeps_what_was_not_sent_in_its_memory():
    ours = learned(dore, 100, alpha=0.1, compress=identity, server_compress=top4())
    gradients = np.stack([Q.gradients(x).mean(0) for x in ours.x[:-1]])
    np.testing.assert_allclose(ours.last + ours.server["e"], Q.x0 - 0.1 * gradients.sum(0), atol=1e-13)
    assert ours.server["e"].any()


def test_dore_with_a_contractive_server_is_exact():
    assert Q.error(learned(dore, 1500, alpha=0.1, server_compress=top4()).last) < ROUND_OFF


def test_marina_is_exact_with_147_syncs_in_1500_rounds():
    assert coins(1500).sum() == 147
    assert Q.error(learned(marina, 1500, syncs=coins(1500)).last) < ROUND_OFF


@pytest.mark.parametrize(("compress", "syncs"), [(identity, [False] * 100), (rand4(3), [True] * 100)])
def test_marina_without_compression_or_with_syncs_alone_is_gradient_descent(
    compress: compressors.Compress, syncs: list[bool]
):
    ours = learned(marina, 100, compress=compress, syncs=syncs)
    np.testing.assert_allclose(ours.x, descent(100), rtol=0, atol=1e-13)


def test_marina_corrects_its_direction_by_compressed_changes_and_replaces_it_at_a_sync():
    ours, drawn = learned(marina, 60, compress=top4(), syncs=coins(60)), coins(60)
    direction = (ours.x[:-1] - ours.x[1:]) / 0.1
    np.testing.assert_allclose(direction[0], Q.gradients(Q.x0).mean(0), rtol=1e-12)
    for t in range(59):
        new, old = Q.gradients(ours.x[t + 1]), Q.gradients(ours.x[t])
        changes = np.mean([top4()(t, i, new[i] - old[i]) for i in range(10)], axis=0)
        expected = new.mean(0) if drawn[t] else direction[t] + changes
        np.testing.assert_allclose(direction[t + 1], expected, rtol=0, atol=1e-11)


def test_marina_with_two_clients_between_syncs_is_exact():
    ours = marina(Q.gradient, Q.x0, Q.clients, sampled(2, 1500), lr=0.1, syncs=coins(1500), compress=rand4(3))
    assert Q.error(ours.last) < ROUND_OFF


def test_marina_with_a_coin_of_each_client_does_not_start_afresh():
    """Then a sync removes only its own client's error, and the mean is not the whole gradient."""
    x, G, compress, rng = Q.x0, Q.gradients(Q.x0), rand4(3), np.random.default_rng(4)
    for t in range(40):
        old, x = x, x - 0.1 * G.mean(0)
        new, before, drawn = Q.gradients(x), Q.gradients(old), rng.random(10) < 0.1
        for i in range(10):
            G[i] = new[i] if drawn[i] else G[i] + compress(t, i, new[i] - before[i])
    assert drawn.any()
    assert np.linalg.norm(G.mean(0) - Q.gradients(x).mean(0)) > 0.1


def test_fedpaq_without_compression_is_fedavg():
    ours = fedpaq(Q.gradient, Q.x0, sampled(2, 30), compress=identity, **LOCAL)
    np.testing.assert_allclose(ours.x, fedavg(Q.gradient, Q.x0, sampled(2, 30), **LOCAL).x, atol=1e-13)


def test_fedpaq_with_a_diminishing_step_gets_closer_than_with_its_first():
    steps = 0.02 / (1 + 0.02 * np.arange(2000))
    falling, constant = (
        fedpaq(Q.gradient, Q.x0, everybody(2000), lr=lr, steps=5, compress=rand4(3)) for lr in (steps, 0.02)
    )
    tail = [np.mean([Q.error(x) for x in run.x[1500:]]) for run in (falling, constant)]
    assert tail[0] < tail[1] / 3


def test_fedcom_with_a_server_step_of_one_is_fedpaq():
    """Rand-k commutes with the division by lr."""
    ours = fedcom(Q.gradient, Q.x0, everybody(50), server_lr=1.0, compress=rand4(3), **LOCAL)
    other = fedpaq(Q.gradient, Q.x0, everybody(50), compress=rand4(3), **LOCAL)
    np.testing.assert_allclose(ours.x, other.x, rtol=0, atol=1e-12)


def test_fedcom_without_compression_is_fedavg_with_a_server_step():
    ours = fedcom(Q.gradient, Q.x0, sampled(2, 30), server_lr=0.4, compress=identity, **LOCAL)
    other = fedavg(Q.gradient, Q.x0, sampled(2, 30), server_lr=0.4, **LOCAL)
    np.testing.assert_allclose(ours.x, other.x, rtol=0, atol=1e-13)


def gate(rounds: int, compress: compressors.Compress, server_lr: float = 1.0) -> Trace:
    return fedcomgate(
        Q.gradient, Q.x0, Q.clients, everybody(rounds), server_lr=server_lr, compress=compress, **LOCAL
    )


def test_fedcomgate_without_compression_is_scaffold_with_all_clients():
    """delta_i is then c_i - c of option 2."""
    ours = gate(60, identity, server_lr=0.7)
    other = scaffold(Q.gradient, Q.x0, Q.clients, everybody(60), server_lr=0.7, **LOCAL)
    np.testing.assert_allclose(ours.x, other.x, rtol=0, atol=1e-13)
    np.testing.assert_allclose(ours.clients["delta"], other.clients["c"] - other.server["c"], atol=1e-12)


def test_fedcomgate_shifts_sum_to_zero():
    np.testing.assert_allclose(gate(100, compressors.natural(3)).clients["delta"].sum(0), 0, atol=1e-12)


def test_fedcomgate_with_uncompressed_sums_in_its_shifts_loses_their_sum_of_zero():
    delta, mean = np.zeros((10, 40)), np.zeros(40)
    for i in range(10):
        D = 5 * Q.gradient(i, Q.x0)
        delta[i], mean = D / 5, mean + compressors.natural(i)(0, i, D) / 50
    assert np.abs((delta - mean).sum(0)).max() > 0.1


@pytest.mark.parametrize("compress", [compressors.natural(3), compressors.dithering(4, 3)])
def test_fedcomgate_is_exact_where_fedcom_is_not(compress: compressors.Compress):
    other = fedcom(Q.gradient, Q.x0, everybody(600), server_lr=1.0, compress=compress, **LOCAL)
    assert Q.error(gate(600, compress).last) < ROUND_OFF
    assert Q.error(other.last) > 0.02


def test_fedcomgate_diverges_with_a_large_variance():
    """Its shifts learn undamped, which is DIANA's alpha = 1; here omega = 9 and 2 / (1 + omega) is the limit."""
    assert Q.error(gate(100, rand4(3)).last) > 1e6


def random_masks(rounds: int, share: float = 0.3) -> NDArray[np.bool_]:
    return np.random.default_rng(0).random((rounds, 10, 40)) < share


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("holders", [False, True])
def test_masked_fedavg_with_full_masks_is_fedavg(trained: bool, holders: bool):
    options = {"server_lr": 0.5, "weights": np.arange(1.0, 11.0), **LOCAL}
    full = np.ones((30, 10, 40), dtype=bool)
    ours = masked_fedavg(
        Q.gradient, Q.x0, sampled(2, 30), masks=full, trained=trained, holders=holders, **options
    )
    np.testing.assert_allclose(ours.x, fedavg(Q.gradient, Q.x0, sampled(2, 30), **options).x, atol=1e-13)


def test_masked_fedavg_that_trains_everything_is_fedavg_with_a_masking_compressor():
    masks = random_masks(30)
    ours = masked_fedavg(Q.gradient, Q.x0, sampled(4, 30), masks=masks, trained=False, **LOCAL)
    other = fedavg(Q.gradient, Q.x0, sampled(4, 30), compress=lambda t, i, u: u * masks[t, i], **LOCAL)
    np.testing.assert_allclose(ours.x, other.x, rtol=0, atol=ROUND_OFF)


def test_a_structured_update_is_local_training_of_the_masked_parameters_alone():
    """With one client it is gradient descent on the block of the quadratic that the mask cuts out."""
    mask = random_masks(1)[0, 0]
    alone = Toy(Q.H[:1, mask][:, :, mask], Q.b[:1, mask], np.zeros(mask.sum()))
    ours = masked_fedavg(Q.gradient, Q.x0, [np.array([0])], masks=mask[None, None], **LOCAL).last
    other = fedavg(alone.gradient, alone.x0, [np.array([0])], **LOCAL).last
    np.testing.assert_allclose(ours[mask], other, rtol=1e-12)
    assert not ours[~mask].any()


def test_averaging_over_holders_does_not_shrink_what_few_clients_hold():
    """A parameter that one client of two holds moves by its whole update, not by half of it."""
    flat = Toy(np.zeros((2, 3, 3)), np.array([[1.0, 1.0, 1.0], [3.0, 3.0, 3.0]]), np.zeros(3))
    masks = np.array([[[True, True, False], [True, False, False]]])
    options = {"lr": 0.5, "steps": 1, "masks": masks}
    cohort, holders = (
        masked_fedavg(flat.gradient, flat.x0, [np.array([0, 1])], holders=holders, **options).last
        for holders in (False, True)
    )
    assert list(cohort) == [1.0, 0.25, 0.0]
    assert list(holders) == [1.0, 0.5, 0.0]
