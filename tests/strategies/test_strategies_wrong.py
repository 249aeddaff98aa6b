"""Wrong versions of SCAFCOM are found out: by the stated numbers, by the iterates, some by the invariant.

Two of ten clients a round, beta 0.5, 300 rounds: right is an error of 7.142e-04.
"""

from dataclasses import dataclass
from functools import cache

import pytest
from strategy_cases import assert_control_is_the_mean, assert_same_run, error, run

from fedsparse.compress import TopK
from fedsparse.protocol import Context, Inbox, Message, State, Task
from fedsparse.simulation import Result
from fedsparse.strategies.scafcom import Scafcom
from tests.reference import Trace, scafcom
from tests.reference.oracle import LOCAL, Q, printed, sampled, top4


@dataclass(frozen=True)
class ControlGainsTheCohortsMean(Scafcom):
    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        return {**super().aggregate(server, inbox, ctx), "c": server["c"] + inbox.mean("dc", by="one")}


@dataclass(frozen=True)
class StepForgetsControl(Scafcom):
    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        right = super().aggregate(server, inbox, ctx)
        return {**right, "x": right["x"] + self.lr * self.steps * server["c"]}


@dataclass(frozen=True)
class StepAveragesOverEverybody(Scafcom):
    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        direction = inbox.sum("dc") / ctx.population + server["c"]
        right = super().aggregate(server, inbox, ctx)
        return {**right, "x": server["x"] - self.lr * self.steps * direction}


@dataclass(frozen=True)
class StepUsesNewControl(Scafcom):
    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        right = super().aggregate(server, inbox, ctx)
        direction = inbox.mean("dc", by="one") + right["c"]
        return {**right, "x": server["x"] - self.lr * self.steps * direction}


@dataclass(frozen=True)
class ClientKeepsWhatWasNotSent(Scafcom):
    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        state, message = super().client_update(client, heard, task, ctx)
        return {**state, "c": state["v"]}, message


@dataclass(frozen=True)
class MomentumOfTheShiftedGradients(Scafcom):
    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        local = task.sgd(heard["x"], lr=self.lr, steps=self.steps, shift=heard["c"] - client["c"])
        moved = (heard["x"] - local.x) / (self.lr * self.steps)
        v = (1 - self.beta) * client["v"] + self.beta * moved
        sent = self.uplink.compress(v - client["c"], ctx, "uplink")
        return {"c": client["c"] + sent.dense(), "v": v}, {"dc": sent}


SERVER_FLAWS = {
    ControlGainsTheCohortsMean: "1.31",
    StepForgetsControl: "0.617",
    StepAveragesOverEverybody: "1.8e-02",
    StepUsesNewControl: "4.0e-04",
}
"""With the error that is stated for each."""

FLAWS = [*SERVER_FLAWS, ClientKeepsWhatWasNotSent, MomentumOfTheShiftedGradients]


@cache
def trial(version: type[Scafcom]) -> Result:
    return run(version(beta=0.5, uplink=TopK(0.1), **LOCAL), sampled(2, 300))


@cache
def reference() -> Trace:
    return scafcom(Q.gradient, Q.x0, Q.clients, sampled(2, 300), compress=top4(), beta=0.5, **LOCAL)


def assert_stated_error(result: Result) -> None:
    assert error(result) == printed("7.142e-04")


def test_the_right_version_passes_all_three_checks():
    assert_stated_error(trial(Scafcom))
    assert_same_run(trial(Scafcom), reference())
    assert_control_is_the_mean(trial(Scafcom))


@pytest.mark.parametrize("flawed", FLAWS)
def test_the_stated_error_finds_every_flaw(flawed: type[Scafcom]):
    with pytest.raises(AssertionError):
        assert_stated_error(trial(flawed))


@pytest.mark.parametrize("flawed", FLAWS)
def test_the_iterates_find_every_flaw(flawed: type[Scafcom]):
    with pytest.raises(AssertionError):
        assert_same_run(trial(flawed), reference())


@pytest.mark.parametrize("flawed", [ControlGainsTheCohortsMean, ClientKeepsWhatWasNotSent])
def test_the_invariant_finds_flaws_of_the_control_variates(flawed: type[Scafcom]):
    with pytest.raises(AssertionError):
        assert_control_is_the_mean(trial(flawed))


@pytest.mark.parametrize(("flawed", "stated"), SERVER_FLAWS.items())
def test_flaws_have_the_stated_errors(flawed: type[Scafcom], stated: str):
    assert error(trial(flawed)) == printed(stated)


def test_a_step_with_the_new_control_converges_too_so_that_convergence_proves_little():
    assert error(trial(StepUsesNewControl)) < error(trial(Scafcom))
