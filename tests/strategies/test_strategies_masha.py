"""MASHA is the reference's MASHA: every iterate, the known numbers, its identities; and it keeps its replicas equal."""

import numpy as np
import pytest
import torch
from masha_cases import (
    B0,
    FORMS,
    TAU,
    B,
    SampledProblem,
    coins,
    end,
    ours,
    rand,
    theirs,
    tossed,
)
from strategy_cases import EXACT, error, iterates, rows, run

from fedsparse.cohort.examples import Examples
from fedsparse.compress import Identity, RandK, Sign, Threshold, TopK
from fedsparse.data import load
from fedsparse.data.partition import partition
from fedsparse.data.quadratic import Quadratics
from fedsparse.engine.faults import Faults
from fedsparse.errors import ConfigError
from fedsparse.models import build
from fedsparse.schedule import Cosine
from fedsparse.simulation import simulate
from fedsparse.strategies.extragradient import Extragradient
from fedsparse.strategies.masha import Masha
from fedsparse.testing import CHECKS, check_strategy
from fedsparse.testing.trial import Setting, opened
from tests.reference.oracle import Q, everybody, printed

TWO_OF_TEN = [np.random.default_rng(9 + t).permutation(10)[:2] for t in range(60)]


@pytest.mark.parametrize("who", ["all", "two"])
@pytest.mark.parametrize("form", FORMS)
def test_every_iterate_is_the_references(form: str, who: str):
    chosen = everybody(60) if who == "all" else [np.sort(c) for c in TWO_OF_TEN]
    result, expected = ours(form, 60, chosen), theirs(form, 60, chosen)
    np.testing.assert_allclose(iterates(result, B), expected.x, rtol=0, atol=EXACT)
    for name in result.clients:
        np.testing.assert_allclose(rows(result, name), expected.clients[name], rtol=0, atol=EXACT)
    np.testing.assert_allclose(result.server["w"], expected.server["w"], rtol=0, atol=EXACT)
    np.testing.assert_allclose(result.server["Fw"], expected.server["F"], rtol=0, atol=EXACT)


@pytest.mark.parametrize("form", ["masha1", "masha2-both"])
def test_every_iterate_is_the_references_with_minibatches(form: str):
    problem = SampledProblem()
    strategy = tossed(60, oracle="minibatch", **FORMS[form][1](everybody(60)))
    found = simulate(strategy, problem, rounds=60, keep_models=True)
    expected = theirs(form, 60, minibatches=problem.minibatches(60))
    np.testing.assert_allclose(iterates(found, B), expected.x, rtol=0, atol=EXACT)


@pytest.mark.parametrize("downlink", [Identity(), TopK(0.1)])
def test_the_virtual_iterate_takes_the_uncompressed_step(downlink: object):
    """With E the server's memory plus the mean of the clients', z⁺ - E⁺ = zh - E - γ mean(F_m(zh) - F_m(w)).

    Summed over the rounds, from E = 0: E = sum of z⁺ - zh + γ mean(F_m(zh) - F_m(w)).
    """
    strategy = tossed(200, downlink=downlink)
    result = run(strategy, everybody(200), toy=B)
    x, w, expected = iterates(result, B), B.x0, np.zeros(40)
    for t in range(200):
        anchor = B.gradients(w).mean(0)
        zh = TAU * x[t] + (1 - TAU) * w - 0.1 * anchor
        expected += x[t + 1] - zh + 0.1 * (B.gradients(zh).mean(0) - anchor)
        w = x[t + 1] if strategy.coins[t] else w
    s = result.server["s"][None]
    left = (s - downlink.compress(s, None).dense())[0].numpy()
    found = left + result.clients["e"].numpy().mean(0)
    assert np.linalg.norm(found) > 0.01
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


def test_topk_matches_the_stated_iterate():
    result = run(tossed(1000), everybody(1000), toy=B)
    assert error(result, B) == printed("1.43117362e-04")
    assert list(result.x[:3]) == printed("-0.40928535", "8.09528609", "1.27065424")


@pytest.mark.slow
def test_topk_both_ways_matches_the_stated_iterate():
    result = run(tossed(1000, downlink=TopK(0.1)), everybody(1000), toy=B)
    assert error(result, B) == printed("1.44461185e-04")
    assert list(result.x[:3]) == printed("-0.40928961", "8.09531372", "1.27062192")


@pytest.mark.slow
def test_randk_and_no_compression_match_the_stated_errors():
    both = FORMS["masha1-both"][1](everybody(1000))
    assert end(1000, uplink=rand(everybody(1000))) == printed("1.4982e-04")
    assert end(1000, **both) == printed("2.59e-04")
    assert end(1000, uplink=Identity()) == printed("1.42515193e-04")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_randk_of_the_product_has_the_stated_error_whatever_the_seed(seed: int):
    """1.5e-04 stated, with other random subsets."""
    strategy = tossed(1000, uplink=RandK(0.1))
    found = simulate(strategy, SampledProblem(), rounds=1000, seed=seed, evaluate_every=1000)
    assert 1e-4 < error(found, B) < 2.5e-4


@pytest.mark.slow
def test_larger_steps_match_the_stated_errors():
    assert end(1000, lr=0.2) == printed("4.76e-08")
    assert end(1000, lr=0.2, uplink=rand(everybody(1000))) == printed("5.93e-08")
    assert end(1000, lr=0.5, uplink=rand(everybody(1000))) == printed("2.3e-05")
    assert end(1000, lr=0.5) < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("downlink", [Identity(), TopK(0.1)])
def test_it_keeps_converging(downlink: object):
    """3.4917e-13 stated; near round-off the order of the sums moves the third digit."""
    assert end(3000, downlink=downlink) == pytest.approx(3.5e-13, rel=0.1)


@pytest.mark.slow
def test_two_clients_of_ten_match_the_stated_errors():
    """The cohort and then the coin come from one generator, so the subsets are those of the cohort's order."""
    generator = np.random.default_rng(9)
    drawn = [(generator.permutation(10)[:2], bool(generator.random() < 0.1)) for _ in range(3000)]
    who, tosses = [cohort for cohort, _ in drawn], tuple(coin for _, coin in drawn)
    result = run(tossed(3000, uplink=rand(who), coins=tosses), who, toy=B)
    assert B.error(result.models[999].numpy()) == printed("4.4e-05")
    assert error(result, B) < 1e-12


@pytest.mark.slow
def test_minimisation_matches_the_stated_errors():
    assert end(600, Q) == printed("3.8034e-11")
    assert end(600, Q, lr=0.2) == pytest.approx(9.8e-13, rel=0.1)  # near round-off
    assert end(600, Q, downlink=TopK(0.1)) == printed("1.22e-10")
    assert end(600, Q, uplink=rand(everybody(600))) == printed("1.30e-11")


@pytest.mark.slow
@pytest.mark.parametrize("lr", [0.02, 0.05])
def test_with_a_small_step_it_contracts_by_half_of_gradient_descent(lr: float):
    """By γ mu q / (q + 1 - τ) an iteration, q the share of synchronisations, with and without compression."""
    q = np.mean(coins(2000))
    plain, sparse = (1 - end(2000, lr=lr, uplink=c) ** (1 / 2000) for c in (Identity(), TopK(0.1)))
    assert plain == pytest.approx(lr * B.mu * q / (q + 1 - TAU), rel=0.1)
    assert sparse == pytest.approx(plain, rel=0.02)


@pytest.mark.slow
def test_on_a_purely_bilinear_problem_it_converges():
    assert end(1000, B0) == printed("5.27e-04")
    assert end(1000, B0, uplink=rand(everybody(1000))) == printed("2.74e-04")
    assert end(1000, B0, uplink=Identity()) == printed("5.11e-04")
    assert end(1000, B0, uplink=Identity(), lr=0.2) == printed("5.5e-12")


@pytest.mark.parametrize("memory", [False, True])
def test_without_compression_and_with_a_synchronisation_each_round_it_is_extragradient(memory: bool):
    uplink = TopK(1.0) if memory else Identity()
    strategy, other = Masha(lr=0.1, uplink=uplink, oracle="full"), Extragradient(lr=0.1)
    found, expected = (iterates(run(s, everybody(60), toy=B), B) for s in (strategy, other))
    np.testing.assert_allclose(found, expected, rtol=0, atol=EXACT)


def test_one_minibatch_at_both_points_and_all_examples_are_one_where_there_is_no_sampling():
    full, minibatch = (
        iterates(run(tossed(60, oracle=o), everybody(60), toy=B), B) for o in ("full", "minibatch")
    )
    np.testing.assert_allclose(full, minibatch, rtol=0, atol=EXACT)


def test_all_examples_cost_one_gradient_and_a_minibatch_two():
    for oracle, calls in (("full", 10), ("minibatch", 20)):
        history = run(tossed(8, oracle=oracle, coins=(False,) * 8), everybody(8), toy=B).history
        assert [record.gradient_calls for record in history[1:]] == [calls] * 7


@pytest.mark.parametrize("faults", [Faults(), Faults(uplink_loss=0.7, downlink_loss=0.4, dropout=0.3)])
@pytest.mark.parametrize("downlink", [Identity(), TopK(0.1), RandK(0.1)])
def test_what_all_clients_hold_is_what_the_server_has_whatever_is_lost(downlink: object, faults: Faults):
    """At the start of a round all know z, w and Fw; with three clients it happens that no message arrives."""
    strategy = Masha(lr=0.05, sync=0.2, uplink=TopK(0.1), downlink=downlink)
    setting = Setting(rounds=60, cohort=3, faults=faults)
    with opened(strategy, Quadratics.drawn(10, 40, 5.0, 0.0, 3), setting) as session:
        skipped = 0
        for number in range(60):
            before = session.engine.state["x"]
            record = session.engine.round(number)
            skipped += record.skipped
            held, server = session.engine.held, session.engine.state
            torch.testing.assert_close(held["z"][0], before, rtol=0, atol=1e-13)
            torch.testing.assert_close(held["w"][0], server["w"], rtol=0, atol=1e-13)
            torch.testing.assert_close(held["Fw"][0], server["Fw"], rtol=0, atol=0)
    assert bool(skipped) == bool(faults.dropout)


def test_a_step_size_that_changes_leaves_replicas_equal():
    strategy = Masha(lr=Cosine(0.1, 0.01), sync=0.2, uplink=TopK(0.1))
    with opened(strategy, Quadratics.drawn(10, 40, 5.0, 0.0, 3), Setting(rounds=30)) as session:
        for number in range(30):
            before = session.engine.state["x"]
            session.engine.round(number)
            torch.testing.assert_close(session.engine.held["z"][0], before, rtol=0, atol=1e-13)


@pytest.mark.parametrize("uplink", [TopK(0.1), RandK(0.1)])
def test_a_synchronisation_is_as_likely_as_the_share_of_what_is_kept(uplink: object):
    history = simulate(Masha(uplink=uplink), SampledProblem(), rounds=400, block=10).history
    busy = sum(record.traffic["up_messages"] == 20 for record in history[1:])
    assert 25 < busy < 60  # 40 expected; within 2.5 standard deviations


def test_a_memory_is_kept_where_a_compressor_is_biased():
    states = {
        type(c).__name__: set(simulate(Masha(uplink=c), SampledProblem(), rounds=2).clients)
        for c in (TopK(0.1), Sign(), RandK(0.1), RandK(0.1, unbiased=False))
    }
    assert states == {"TopK": {"e"}, "Sign": {"e"}, "RandK": {"e"}}
    assert set(simulate(Masha(uplink=RandK(0.1)), SampledProblem(), rounds=2).clients) == set()


@pytest.mark.parametrize("direction", ["uplink", "downlink"])
def test_a_compressor_of_neither_class_is_refused(direction: str):
    strategy = Masha(**{direction: Threshold(absolute=0.1)})
    with pytest.raises(ConfigError, match=f"masha needs an unbiased or a contractive {direction} compressor"):
        simulate(strategy, SampledProblem(), rounds=1)


def test_a_downlink_of_the_machine_is_refused():
    with pytest.raises(ConfigError, match=r"give its own field, Masha\(downlink=...\)"):
        simulate(Masha(), SampledProblem(), rounds=1, downlink=TopK(0.1))


@pytest.mark.parametrize(
    "strategy",
    [
        Masha(uplink=RandK(0.2), downlink=RandK(0.5), sync=0.5),
        Masha(uplink=TopK(0.2), downlink=TopK(0.2), sync=0.5, oracle="full"),
        Masha(uplink=RandK(0.2), downlink=TopK(0.2), sync=0.5),
    ],
    ids=["masha1", "masha2", "one of each"],
)
def test_it_keeps_the_protocol_with_compression_both_ways(strategy: Masha):
    check_strategy(strategy, only=[name for name in CHECKS if name != "theory"]).require()


def test_it_minimises_a_convex_loss_over_examples():
    """A linear model of the digits; the anchor is that of all examples. A tenth of them would be right by chance."""
    data = load("digits")
    examples = Examples.of(data, partition("dirichlet", data, 10, 0))
    model = build("linear", data.example_shape, data.classes, 0)
    strategy = Masha(lr=0.5, uplink=TopK(0.1))
    found = simulate(strategy, examples=examples, model=model, batch=20, rounds=60, evaluate_every=60)
    assert found.summary.final["accuracy"] > 0.8
