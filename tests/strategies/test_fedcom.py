"""FedCOM is the reference's FedCOM, and FedAvg with a server step where nothing is compressed."""

from dataclasses import dataclass

import numpy as np
import pytest
from strategy_cases import EXACT, PARTICIPATION, assert_same_run, drawn, iterates, noisy, run

from fedsparse.compress import QSGD, Compressor, Identity, Natural, RandK, TopK
from fedsparse.errors import ConfigError
from fedsparse.protocol import Context, Inbox, State
from fedsparse.strategies.fedavg import FedAvg
from fedsparse.strategies.fedcom import FedCOM
from fedsparse.strategies.fedpaq import FedPAQ
from tests.reference import fedcom
from tests.reference.oracle import LOCAL, Q, everybody, sampled

GIVEN = {"server_lr": 0.4, **LOCAL}


@pytest.mark.parametrize("uplink", [RandK(0.1), QSGD(4), Natural()], ids=lambda c: type(c).__name__)
@pytest.mark.parametrize("who", PARTICIPATION)
def test_every_iterate_is_the_references(who: str, uplink: Compressor):
    cohorts = PARTICIPATION[who]
    expected = fedcom(Q.gradient, Q.x0, cohorts, compress=drawn(uplink), **GIVEN)
    assert_same_run(run(FedCOM(uplink=uplink, **GIVEN), cohorts), expected)


def test_every_iterate_is_the_references_with_noisy_gradients():
    cohorts = sampled(3, 60)
    expected = fedcom(noisy(Q, cohorts, 5, noise=0.5), Q.x0, cohorts, compress=drawn(QSGD(4)), **GIVEN)
    assert_same_run(run(FedCOM(uplink=QSGD(4), **GIVEN), cohorts, noise=0.5), expected)


def test_without_compression_it_is_fedavg_with_that_server_step():
    cohorts = sampled(3, 60)
    plain = run(FedAvg(weighting="one", **GIVEN), cohorts)
    ours = run(FedCOM(uplink=Identity(), **GIVEN), cohorts)
    np.testing.assert_allclose(iterates(ours), iterates(plain), rtol=0, atol=EXACT)


def test_with_a_server_step_of_one_it_is_fedpaq_where_the_quantiser_scales_with_its_argument():
    cohorts = sampled(3, 60)
    one, other = (run(method(uplink=QSGD(4), **LOCAL), cohorts) for method in (FedCOM, FedPAQ))
    np.testing.assert_allclose(iterates(one), iterates(other), rtol=0, atol=EXACT)


@dataclass(frozen=True)
class ServerForgetsTheLocalStep(FedCOM):
    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        return {"x": server["x"] - self.server_lr * inbox.mean("dx", by="one")}


def test_the_iterates_find_a_server_that_forgets_the_local_step():
    expected = fedcom(Q.gradient, Q.x0, everybody(5), compress=drawn(QSGD(4)), **GIVEN)
    with pytest.raises(AssertionError):
        assert_same_run(run(ServerForgetsTheLocalStep(uplink=QSGD(4), **GIVEN), everybody(5)), expected)


def test_refuses_a_biased_uplink():
    with pytest.raises(ConfigError, match="unbiased"):
        run(FedCOM(uplink=TopK(0.1), **GIVEN), everybody(1))
