"""``correct=true``: what a strategy mixes keeps the variance of its tensors."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from gossip_cases import RING, run, weights
from reference_cases import BowlProblem

from fedsparse.errors import ConfigError
from fedsparse.gossip import Gossip
from fedsparse.strategies.dfedavg import DFedAvg
from fedsparse.strategies.dfedsam import DFedSAM
from fedsparse.strategies.dpsgd import DPSGD
from fedsparse.strategies.epidemic_learning import EpidemicLearning
from tests.reference.gossip_oracle import bowls, cloud

SHAPES = {"first": (2, 4), "bias": (3,), "last": (3, 3)}
TENSORS = [slice(0, 8), slice(11, 20)]
STARTS = torch.from_numpy(cloud() * np.repeat([1.0, 5.0, 0.2], [8, 3, 9]))

STILL = 1e-300
"""A step size with which nothing moves."""


def mixed(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """W x, whose tensors of two dimensions are stretched about their mean to the variances W Var(x)."""
    y = w @ x
    for at in TENSORS:
        part, wanted = y[:, at], w @ x[:, at].var(1)
        mean = part.mean(1, keepdims=True)
        y[:, at] = mean + np.sqrt(wanted / part.var(1))[:, None] * (part - mean)
    return y


def after(strategy: Gossip, rounds: int = 1) -> np.ndarray:
    found = run(strategy, BowlProblem(bowls(), shapes=SHAPES), rounds=rounds, starts=STARTS)
    return found.clients["x"].numpy()


@pytest.mark.parametrize(
    "strategy",
    [DPSGD(lr=STILL), DPSGD(lr=STILL, order="cta"), DFedAvg(lr=STILL), DFedSAM(lr=STILL)],
    ids=["dpsgd", "dpsgd-cta", "dfedavg", "dfedsam"],
)
def test_tensors_of_what_is_mixed_have_the_mean_of_the_variances(strategy: Gossip):
    expected = mixed(mixed(STARTS.numpy(), weights(RING)), weights(RING))
    np.testing.assert_allclose(after(replace(strategy, correct=True), rounds=2), expected, rtol=1e-12)


def test_every_mixing_of_a_round_is_corrected():
    expected = mixed(mixed(STARTS.numpy(), weights(RING)), weights(RING))
    np.testing.assert_allclose(after(DFedSAM(lr=STILL, mixings=2, correct=True)), expected, rtol=1e-12)


def test_a_plain_mean_of_those_heard_has_the_mean_of_their_variances():
    equal = (weights(RING) != 0) / 3.0
    np.testing.assert_allclose(
        after(EpidemicLearning(lr=STILL, correct=True)), mixed(STARTS.numpy(), equal), rtol=1e-12
    )


def test_without_it_variances_shrink():
    kept, lost = after(DPSGD(lr=STILL, correct=True), rounds=20), after(DPSGD(lr=STILL), rounds=20)
    for at in TENSORS:
        start = STARTS.numpy()[:, at].var(1).mean()
        assert lost[:, at].var(1).mean() < 0.5 * start < 0.9 * kept[:, at].var(1).mean()


def test_what_does_not_send_models_refuses_it():
    with pytest.raises(ConfigError, match=r"strategy\.sends=model"):
        DFedAvg(sends="change", correct=True)
