"""Clients that cannot take part are in no phase and in no mean: training is what it would be without them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from server_cases import Log, Pieces, Pulls

from fedsparse import config, data, models, simulate
from fedsparse.cohort.examples import Examples
from fedsparse.compress import TopK
from fedsparse.data.partition import partition
from fedsparse.data.personal import set_aside
from fedsparse.data.quadratic import Quadratics
from fedsparse.engine.sampling import Sampler, Uniform, Weighted
from fedsparse.errors import ConfigError
from fedsparse.message import Dense
from fedsparse.parts import build
from fedsparse.protocol import Strategy
from fedsparse.registry import strategies
from fedsparse.simulation import Result
from fedsparse.strategies.ec_ideal import ECIdeal
from fedsparse.strategies.fedtiny import FedTiny
from fedsparse.strategies.lotteryfl import LotteryFL
from fedsparse.strategies.pfedgate import PFedGate
from fedsparse.strategies.snip import Snip
from fedsparse.testing.problem import Springs
from fedsparse.theory import FromTheory

NOVEL, EMPTY = Uniform(novel=0.4), [0, 1, 0, 1, 1, 1]
LEFT_OUT = [(NOVEL, None, [0, 1, 2, 3]), (Weighted(), EMPTY, [1, 3, 4, 5])]
"""A sampler, the examples of six clients, and who of them can take part."""


@pytest.mark.parametrize(("sampler", "sizes", "able"), LEFT_OUT)
def test_a_phase_for_everybody_is_for_those_who_can_take_part(sampler: Sampler, sizes, able):
    log = Log()
    strategy = Pieces(log=log, who=lambda _: "all")
    [record] = simulate(strategy, Pulls(sizes=sizes), rounds=1, cohort=2, sampler=sampler).history
    assert [ids for *_, ids, _ in log.of("client")] == [able]
    assert (record.traffic["down_messages"], record.traffic["up_messages"]) == (4, 4)
    assert (record.cohort, record.accepted) == (4, 4)


@pytest.mark.parametrize(("sampler", "sizes", "able"), LEFT_OUT)
def test_server_and_clients_know_how_many_can_take_part_and_what_they_have(sampler: Sampler, sizes, able):
    found = set()

    def work(client, heard, task, ctx):
        found.add((ctx.phase, ctx.population, ctx.total, ctx.registered))
        return client, {"g": Dense(task.grad(heard["x"]))}

    def step(server, inbox, ctx):
        found.add(("server", ctx.population, ctx.total, ctx.registered))
        return server

    examples = [10 * n for n in sizes] if sizes else [1, 2, 3, 4, 50, 60]
    simulate(Pieces(work=work, step=step), Pulls(sizes=examples), rounds=1, cohort=2, sampler=sampler)
    total = sum(examples[client] for client in able)
    assert found == {("train", 4, total, 6), ("server", 4, total, 6)}


def without_the_last(problem: Springs, clients: int) -> Springs:
    """Nobody is there but the first ``clients``."""
    return replace(
        problem,
        stiffness=problem.stiffness[:clients],
        rest=problem.rest[:clients],
        sizes=problem.sizes[:clients],
    )


def made(name: str) -> Strategy:
    """A strategy as a variant for cohorts where it has one, with an uplink that leaves something out."""
    cls: Any = strategies.get(name)
    options: dict[str, Any] = {"partial": True} if hasattr(cls, "partial") else {}
    if getattr(cls, "uplink_class", "any") in ("contractive", "either") and hasattr(cls, "uplink"):
        options["uplink"] = TopK(0.25)
    return cls(**options)


DIVIDING = [
    "scaffold", "scafcom", "scallion", "fedcomgate", "diana", "marina", "ef21", "ef21_plus", "ef21_sgdm",
    "ef21_bc", "econtrol", "ec_sgd", "d_ec", "masha", "lotteryfl", "snip", "fedavg",
]  # fmt: skip
"""Strategies that divide by the number of clients, have a table of them, or ask everybody; and one that does not."""


@pytest.mark.parametrize("name", DIVIDING)
def test_training_is_as_if_novel_clients_were_not_registered(name: str):
    """Eight clients of which the last three are novel, and five clients: the same bits and bytes."""
    problem, strategy = Springs.drawn(8), made(name)
    options: dict[str, Any] = {"rounds": 5, "cohort": 3, "block": 2}
    one = simulate(strategy, problem, sampler=Uniform(novel=0.4), **options)
    other = simulate(strategy, without_the_last(problem, 5), **options)
    assert_trained_alike(one, other)


def assert_trained_alike(one: Result, other: Result) -> None:
    assert torch.equal(one.x, other.x)
    assert torch.equal(one.ids, other.ids)
    assert {n: v.tolist() for n, v in one.clients.items()} == {
        n: v.tolist() for n, v in other.clients.items()
    }
    assert [r.traffic_total for r in one.history] == [r.traffic_total for r in other.history]


@pytest.fixture(scope="module")
def digits() -> Examples:
    found = data.load("digits")
    assert isinstance(found, data.Dataset)
    return Examples.of(found, *set_aside(partition("dirichlet", found, 6, seed=0, alpha=0.3), 0.25, seed=0))


@pytest.mark.parametrize(
    "strategy",
    [Snip(density=0.5), FedTiny(density=0.5), LotteryFL(), PFedGate()],
    ids=lambda s: type(s).__name__,
)
def test_whoever_never_took_part_is_judged_as_new(strategy: Strategy, digits: Examples):
    model = models.build("mlp", (1, 8, 8), 10, seed=0, hidden=(16,))
    result = simulate(
        strategy, examples=digits, model=model, batch=20, rounds=2, cohort=2, sampler=NOVEL, evaluate_every=2
    )
    assert set(result.ids.tolist()) <= {0, 1, 2, 3}
    assert {"personal_accuracy", "novel_personal_accuracy"} <= result.history[-1].metrics.keys()


def test_a_table_has_a_row_for_every_id_and_not_for_everyone_who_takes_part():
    """Ids of those with examples go up to 5, though they are only four."""
    problem = replace(Springs.drawn(6), sizes=torch.tensor(EMPTY))
    for name in ("ef21_plus", "lotteryfl"):
        result = simulate(made(name), problem, rounds=3, cohort=2, sampler=Weighted())
        table = result.server["clients" if name == "ef21_plus" else "tickets"]
        assert len(table) == 6


def test_those_who_can_take_part_are_the_only_ones_that_are_drawn():
    sizes = np.array(EMPTY)
    for sampler in (Uniform(novel=0.4), Weighted()):
        able = sampler.able(6, sizes)
        assert len(able) == sampler.eligible(6, sizes)
        assert sampler.draw(0, 0, 6, len(able), sizes).tolist() == able.tolist()


# ---- what is known of all clients only


def test_a_step_size_from_theory_is_refused_where_some_clients_never_take_part():
    words = ["strategy=fedavg", "data=quadratic", "strategy.lr=theory", "strategy.steps=1", "clients=10"]
    with pytest.raises(ConfigError, match=r"strategy\.lr=theory: .* all 10 clients, and only 7 of them"):
        build(config.parse([*words, "sampler.novel=0.3"]))
    strategy: Any = strategies.get("fedavg")(lr=FromTheory(), steps=1)
    with pytest.raises(ConfigError, match="all 10 clients, and only 7 of them"):
        simulate(strategy, Quadratics.drawn(10, 10, 1.0, 0.0, 0), rounds=1, sampler=Uniform(novel=0.3))


def test_the_optimum_of_all_clients_is_refused_where_some_never_take_part():
    with pytest.raises(ConfigError, match=r"ec_ideal: .* all 8 clients, and only 5 of them can take part"):
        simulate(ECIdeal(partial=True), Springs.drawn(8), rounds=1, sampler=Uniform(novel=0.4))
