"""EF14, EC-Ideal, D-EC, EControl, EF21+ and EF21-BC reproduce known numbers, closed forms and identities."""

from collections.abc import Callable
from itertools import count

import numpy as np
import pytest

from . import Toy, Trace, compressors, d_ec, ec_ideal, ec_sgd, econtrol, ef21, ef21_plus, ef21_sgdm, fed_ef
from .common import Gradient
from .oracle import ROUND_OFF, Q, everybody, printed, top4
from .toys import Array

FULL = Q.gradients(Q.x0)
OPTIMAL = Q.gradients(Q.x_star)


def run(method: Callable[..., Trace], rounds: int, lr: float = 0.1, **options: object) -> Trace:
    """All clients of the quadratics, exact gradients, top-k of 10 % unless another compressor is given."""
    return method(Q.gradient, Q.x0, Q.clients, everybody(rounds), **{"lr": lr, "compress": top4(), **options})


def descent(rounds: int, lr: float = 0.1) -> Array:
    """Iterates of plain gradient descent, [rounds + 1, d]."""
    xs = [Q.x0]
    for _ in range(rounds):
        xs.append(xs[-1] - lr * Q.gradients(xs[-1]).mean(0))
    return np.stack(xs)


def virtual_iterate_error(trace: Trace, lr: float = 0.1) -> float:
    """How far x^T - lr mean e_i is from x^0 - lr (sum of the mean gradients at x^0 .. x^(T-1))."""
    gradients = np.stack([Q.gradients(x).mean(0) for x in trace.x[:-1]])
    expected = Q.x0 - lr * gradients.sum(0)
    return float(np.linalg.norm(trace.last - lr * trace.clients["e"].mean(0) - expected))


@pytest.mark.parametrize("eta", [0.01, 0.3, 1.0])
def test_econtrol_without_compression_is_gradient_descent(eta: float):
    ours = run(econtrol, 100, eta=eta, compress=compressors.identity)
    np.testing.assert_allclose(ours.x, descent(100), rtol=0, atol=ROUND_OFF)


@pytest.mark.parametrize(("zero_start", "estimates"), [(False, FULL), (True, None)])
def test_econtrol_with_eta_of_zero_is_ef21(zero_start: bool, estimates: Array | None):
    ours = run(econtrol, 100, eta=0.0, zero_start=zero_start)
    other = run(ef21, 100, estimates=estimates)
    np.testing.assert_allclose(ours.x, other.x, rtol=0, atol=ROUND_OFF)


@pytest.mark.parametrize("zero_start", [False, True])
def test_econtrol_server_holds_the_mean_of_the_estimates(zero_start: bool):
    ours = run(econtrol, 100, eta=0.05, zero_start=zero_start)
    np.testing.assert_allclose(ours.server["h"], ours.clients["h"].mean(0), rtol=0, atol=ROUND_OFF)


@pytest.mark.parametrize("zero_start", [False, True])
def test_econtrol_virtual_iterate_takes_the_path_of_sgd(zero_start: bool):
    assert virtual_iterate_error(run(econtrol, 100, eta=0.05, zero_start=zero_start)) < 1e-13


def test_econtrol_matches_the_stated_iterates():
    ours = run(econtrol, 200, eta=0.05)
    assert Q.error(ours.x[100]) == printed("1.95210913e-03")
    assert list(ours.x[100, :3]) == printed("0.58853641", "0.48419195", "0.30519536")
    assert Q.error(ours.x[200]) == printed("1.63263972e-05")
    assert list(ours.x[200, :3]) == printed("0.58996324", "0.48520612", "0.30565031")


@pytest.mark.parametrize(("eta", "error"), [(0.003, "2.0e-05"), (0.01, "5.9e-11")])
def test_econtrol_with_a_small_eta_forgets_the_error_slowly(eta: float, error: str):
    assert Q.error(run(econtrol, 2000, eta=eta).last) == printed(error)


@pytest.mark.parametrize(("eta", "lr"), [(0.03, 0.1), (0.1, 0.1), (0.05, 0.3)])
def test_econtrol_is_exact(eta: float, lr: float):
    assert Q.error(run(econtrol, 1500, lr, eta=eta).last) < ROUND_OFF


def test_econtrol_is_slow_and_then_diverges_when_eta_passes_the_kept_share():
    assert Q.error(run(econtrol, 500, eta=0.2).last) == printed("3e-2")
    assert Q.error(run(econtrol, 500, eta=0.3).last) > 1e5


def test_econtrol_absentees_keep_their_state():
    ours = econtrol(
        Q.gradient, Q.x0, Q.clients, [np.array([0, 3])], lr=0.1, eta=0.05, compress=top4(), zero_start=True
    )
    assert sorted(np.flatnonzero(ours.clients["h"].any(1))) == [0, 3]
    assert sorted(np.flatnonzero(ours.clients["e"].any(1))) == [0, 3]
    np.testing.assert_allclose(ours.server["h"], ours.clients["h"].mean(0), rtol=0, atol=ROUND_OFF)


def flawed_econtrol(rounds: int, flaw: str) -> Trace:
    """EControl (eta 0.05, lr 0.1) once more, with one mistake."""
    x, h, e = Q.x0, FULL.copy(), np.zeros((10, 40))
    xs = [x]
    for t in range(rounds):
        old = h.mean(0)
        for i in range(10):
            g = Q.gradient(i, x)
            damped = (1.0 if flaw == "eta is one" else 0.05) * e[i]
            sent = top4()(t, i, damped + g - h[i])
            if flaw == "the memory is damped":
                e[i] = damped + g - h[i] - sent
            elif flaw == "the memory uses the new estimate":
                e[i] += g - (h[i] + sent) - sent
            else:
                e[i] += g - h[i] - sent
            h[i] += sent
        x = x - 0.1 * (old if flaw == "x uses the old h" else h.mean(0))
        xs.append(x)
    return Trace(np.stack(xs), clients={"e": e, "h": h})


def test_econtrol_with_a_damped_memory_converges_faster_and_is_told_apart_by_its_virtual_iterate():
    assert Q.error(flawed_econtrol(200, "the memory is damped").last) == printed("5.9e-13")
    assert virtual_iterate_error(flawed_econtrol(200, "the memory is damped")) == printed("1.78")
    assert virtual_iterate_error(run(econtrol, 200, eta=0.05)) < 1e-13


@pytest.mark.parametrize("flaw", ["the memory uses the new estimate", "x uses the old h"])
def test_other_wrong_versions_of_econtrol_are_told_apart_by_their_virtual_iterate(flaw: str):
    assert virtual_iterate_error(flawed_econtrol(100, flaw)) > 0.1


def test_econtrol_diverges_when_the_memory_is_not_scaled():
    assert Q.error(flawed_econtrol(200, "eta is one").last) > 1e14


def test_ec_sgd_without_compression_is_gradient_descent():
    ours = run(ec_sgd, 100, compress=compressors.identity)
    np.testing.assert_allclose(ours.x, descent(100), rtol=0, atol=ROUND_OFF)


def test_ec_sgd_is_error_feedback_on_one_local_step():
    ours, other = run(ec_sgd, 100), run(fed_ef, 100, steps=1)
    np.testing.assert_allclose(ours.x, other.x, rtol=0, atol=ROUND_OFF)


def test_ec_sgd_with_fewer_clients_is_error_feedback_on_one_local_step():
    """Both take the mean over the cohort, and absentees keep their memory."""
    rounds = [np.array([4, 1]), np.array([1, 7, 2]), np.array([0])]
    options = {"lr": 0.1, "compress": top4()}
    ours = ec_sgd(Q.gradient, Q.x0, Q.clients, rounds, **options)
    other = fed_ef(Q.gradient, Q.x0, Q.clients, rounds, steps=1, **options)
    np.testing.assert_allclose(ours.x, other.x, rtol=0, atol=ROUND_OFF)
    np.testing.assert_allclose(ours.clients["e"], other.clients["e"], rtol=0, atol=ROUND_OFF)


def test_ec_sgd_keeps_each_step_in_its_memory_when_the_step_changes():
    """x^T - mean e_i = x^0 - (sum of lr_t times the mean gradient at x^t), for any sequence lr_t."""
    steps = 0.1 / np.sqrt(1 + np.arange(50))
    ours = run(ec_sgd, 50, lr=steps)
    gradients = np.stack([Q.gradients(x).mean(0) for x in ours.x[:-1]])
    expected = Q.x0 - (steps[:, None] * gradients).sum(0)
    np.testing.assert_allclose(ours.last - ours.clients["e"].mean(0), expected, rtol=0, atol=1e-13)


def test_ec_sgd_is_exact_for_one_client():
    alone = Toy(Q.H[:1], Q.b[:1], Q.x0)
    ours = ec_sgd(alone.gradient, alone.x0, 1, [np.array([0])] * 1000, lr=0.1, compress=top4())
    assert alone.error(ours.last) < ROUND_OFF


def test_doublesqueeze_keeps_both_memories_in_its_virtual_iterate():
    ours = run(ec_sgd, 100, server_compress=top4())
    gradients = np.stack([Q.gradients(x).mean(0) for x in ours.x[:-1]])
    virtual = ours.last - ours.clients["e"].mean(0) - ours.server["e"]
    np.testing.assert_allclose(virtual, Q.x0 - 0.1 * gradients.sum(0), rtol=0, atol=1e-13)
    assert ours.server["e"].any()


def test_ec_ideal_is_exact():
    assert Q.error(run(ec_ideal, 1500, optimal=OPTIMAL).last) < ROUND_OFF


def test_ec_ideal_and_d_ec_virtual_iterates_take_the_path_of_sgd():
    assert virtual_iterate_error(run(ec_ideal, 100, optimal=OPTIMAL)) < 1e-13
    assert virtual_iterate_error(run(d_ec, 100)) < 1e-13


def test_ec_ideal_without_knowledge_is_ec_sgd():
    """With h_i = 0 the step is outside the memory here and inside it there: the same for a constant step."""
    ours, other = run(ec_ideal, 100, optimal=np.zeros((10, 40))), run(ec_sgd, 100)
    np.testing.assert_allclose(ours.x, other.x, rtol=0, atol=1e-13)


@pytest.mark.parametrize("zero_start", [False, True])
def test_d_ec_is_exact(zero_start: bool):
    assert Q.error(run(d_ec, 1500, zero_start=zero_start).last) < ROUND_OFF


def test_d_ec_that_never_learns_is_ec_ideal_with_the_first_gradients():
    ours, other = run(d_ec, 100, alpha=0.0), run(ec_ideal, 100, optimal=FULL)
    np.testing.assert_allclose(ours.x, other.x, rtol=0, atol=ROUND_OFF)


@pytest.mark.parametrize("estimates", [None, FULL])
def test_ef21_plus_is_exact(estimates: Array | None):
    assert Q.error(run(ef21_plus, 1500, estimates=estimates).last) < ROUND_OFF


def test_ef21_plus_takes_the_better_estimate():
    """With G = 0 both are the same; then C(g) wins where G has become a bad start."""
    flat = Toy(np.zeros((1, 3, 3)), np.array([[-3.0, -2.0, -1.0]]), np.zeros(3))
    options = {"lr": 0.1, "compress": compressors.top_k(1)}
    good = ef21_plus(flat.gradient, flat.x0, 1, [np.array([0])] * 2, **options)
    bad = ef21_plus(
        flat.gradient, flat.x0, 1, [np.array([0])], estimates=np.array([[0.0, 9.0, 9.0]]), **options
    )
    assert list(good.clients["G"][0]) == [3.0, 2.0, 0.0]
    assert list(bad.clients["G"][0]) == [3.0, 0.0, 0.0]


def test_ef21_bc_without_server_compression_is_ef21():
    np.testing.assert_allclose(
        run(ef21, 100, server_compress=compressors.identity).x, run(ef21, 100).x, rtol=0, atol=ROUND_OFF
    )


def test_ef21_bc_is_exact():
    assert Q.error(run(ef21, 2000, server_compress=top4()).last) < ROUND_OFF


def test_ef21_sgdm_with_a_beta_of_one_is_ef21():
    ours, other = run(ef21_sgdm, 100, beta=1.0), run(ef21, 100)
    np.testing.assert_allclose(ours.x, other.x, rtol=0, atol=ROUND_OFF)


def noisy(seed: int, exact: int) -> Gradient:
    """Exact gradients plus 5 times standard normal noise, from one generator in the order of calls.

    The first `exact` calls are without noise: with them h_i starts at the exact gradients.
    """
    rng, calls = np.random.default_rng(seed), count()

    def gradient(client: int, x: Array) -> Array:
        noise = 0.0 if next(calls) < exact else 5.0 * rng.standard_normal(x.size)
        return Q.gradient(client, x) + noise

    return gradient


def stationary_error(method: Callable[..., Trace], lr: float, exact: int = 0, **options: object) -> float:
    """Mean squared distance to the solution over rounds 1501 .. 3000 with noisy gradients."""
    trace = method(
        noisy(1, exact), Q.x0, Q.clients, everybody(3000), **{"lr": lr, "compress": top4(), **options}
    )
    return float(((trace.x[1501:] - Q.x_star) ** 2).sum(1).mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lr", "sgd", "controlled", "corrected", "momentum"),
    [(0.03, "1.06", "3.85", "6.91", "1.15"), (0.01, "0.345", "0.851", "2.47", "0.371")],
)
def test_with_noise_ef21_is_worst_and_econtrol_approaches_sgd_as_the_step_falls(
    lr: float, sgd: str, controlled: str, corrected: str, momentum: str
):
    assert stationary_error(ef21, lr, compress=compressors.identity) == printed(sgd)
    assert stationary_error(econtrol, lr, exact=Q.clients, eta=0.05) == printed(controlled)
    assert stationary_error(ef21, lr, estimates=FULL) == printed(corrected)
    assert stationary_error(ef21_sgdm, lr, beta=0.1, estimates=FULL) == printed(momentum)
