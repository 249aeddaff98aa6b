"""How accepted messages become one vector: coefficients, robust rules, and what those refuse."""

import numpy as np
import pytest
import torch
from server_cases import Pieces, Pulls

from fedsparse.aggregate import Inbox, Mean, Median, TrimmedMean, get, names
from fedsparse.compress import QSGD, BlockTopK, Identity, RandK, Sign, TopK
from fedsparse.engine.faults import Faults
from fedsparse.engine.local import LocalPool
from fedsparse.engine.sampling import Weighted
from fedsparse.errors import ConfigError
from fedsparse.message import Dense, Payload, Sparse
from fedsparse.protocol import Strategy
from fedsparse.simulation import simulate
from fedsparse.strategies.fed_ef import FedEF
from fedsparse.strategies.fedavg import FedAvg

SIZES = [1, 2, 3, 4, 5, 6]
PULLS = Pulls(sizes=SIZES)
IDS = torch.tensor([2, 5, 7])
ROWS = torch.tensor([[1.0, -1.0], [2.0, 0.0], [9.0, 4.0]])


def inbox(rule=None, robust=None, cut: int = 3, ages: torch.Tensor | None = None) -> Inbox:
    parts = [
        {"g": Dense(ROWS[:cut]), "v": Dense(ROWS[:cut])},
        {"g": Dense(ROWS[cut:]), "v": Dense(ROWS[cut:])},
    ]
    examples = torch.tensor([1, 1, 2])
    weights = torch.tensor([0.25, 0.25, 0.5], dtype=torch.float64)
    return Inbox(
        IDS, examples, weights, [part for part in parts if part["g"].rows], rule or Mean(), robust, ages
    )


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_reductions_do_not_depend_on_how_clients_were_cut_into_blocks(cut: int):
    box = inbox(cut=cut)
    assert box.mean("g").tolist() == [5.25, 1.75]
    assert box.mean("g", by="one").tolist() == pytest.approx([4.0, 1.0])
    assert box.sum("g").tolist() == [12.0, 3.0]
    assert box.sum("g", by="examples").tolist() == [21.0, 7.0]
    assert box.stack("g").equal(ROWS)
    assert box.payload("g").dense().equal(ROWS)


def test_messages_are_of_the_present_version_unless_said_otherwise():
    assert inbox().ages.tolist() == [0, 0, 0]
    assert inbox(ages=torch.tensor([1, 0, 2])).ages.tolist() == [1, 0, 2]


def test_the_mean_by_examples_weighs_senders_by_their_numbers():
    result = simulate(Pieces(lr=1.0), PULLS, rounds=1)
    assert result.x.tolist() == pytest.approx([np.average(np.arange(1, 7), weights=SIZES)] * 4)


def test_coefficients_sum_to_one_over_those_that_were_accepted():
    faults = Faults(uplink_loss=0.5)
    kept = ~faults.lost("up", 0, 0, "train", 0, range(6))
    result = simulate(Pieces(lr=1.0), PULLS, rounds=1, faults=faults)
    assert result.x.tolist() == pytest.approx(
        [np.average(np.arange(1, 7)[kept], weights=np.array(SIZES)[kept])] * 4
    )


def test_where_the_draw_has_counted_the_examples_messages_count_alike():
    result = simulate(Pieces(lr=1.0), PULLS, rounds=1, sampler=Weighted())
    assert result.x.tolist() == pytest.approx([3.5] * 4)


def test_the_weighted_sampler_never_draws_a_client_without_examples():
    result = simulate(Pieces(), Pulls(sizes=[0, 1, 0, 1, 1, 0]), rounds=5, cohort=2, sampler=Weighted())
    assert set(result.ids.tolist()) <= {1, 3, 4}


def test_clients_without_examples_have_no_weight():
    result = simulate(Pieces(lr=1.0), Pulls(sizes=[0, 0, 2, 0, 2, 0]), rounds=1)
    assert result.x.tolist() == [4.0] * 4


def test_a_cohort_without_any_example_is_not_divided_by_zero():
    result = simulate(Pieces(lr=1.0), Pulls(sizes=[0] * 6), rounds=1)
    assert result.x.tolist() == pytest.approx([3.5] * 4)


def test_a_large_sum_has_the_same_bits_in_one_piece_and_cut_over_clients_columns_and_threads():
    rng = np.random.default_rng(0)
    rows = torch.from_numpy(
        rng.standard_normal((30, 50_021), dtype=np.float32) * 10.0 ** rng.integers(-6, 6, (30, 1))
    )
    rows, weights = rows.float(), torch.from_numpy(rng.random(30))
    expected = torch.zeros(50_021)
    for row, weight in zip(rows, weights, strict=True):
        expected += row * weight.float()

    def summed(cuts: list[int], share) -> torch.Tensor:
        parts = [{"g": Dense(part)} for part in rows.split(cuts)]
        return Inbox(torch.arange(30), torch.ones(30), weights, parts, Mean(), share=share).mean("g")

    pool, shares = LocalPool(3), []
    for cuts in ([30], [1] * 30, [7, 23]):
        assert summed(cuts, lambda work: [part() for part in shares.append(len(work)) or work]).equal(
            expected
        )
        assert summed(cuts, pool.share).equal(expected)
    pool.close()
    assert min(shares) > 1


# ---- robust rules


def test_the_median_of_an_odd_and_an_even_number_of_messages():
    assert inbox(Median()).mean("g").tolist() == [2.0, 0.0]
    assert Median().combine(ROWS[:2], torch.tensor([0.5, 0.5])).tolist() == [1.5, -0.5]


def test_the_trimmed_mean_leaves_out_the_extremes():
    assert inbox(TrimmedMean(trim=1)).mean("g").tolist() == [2.0, 0.0]
    assert TrimmedMean(trim=0).combine(ROWS, torch.ones(3) / 3).tolist() == pytest.approx([4.0, 1.0])


def test_the_mean_as_a_rule_is_the_weighted_mean():
    assert Mean().combine(ROWS, torch.tensor([0.25, 0.25, 0.5])).tolist() == [5.25, 1.75]


def test_a_rule_applies_to_robust_names_and_to_means_only():
    box = inbox(Median(), robust=("g",))
    assert box.mean("g").tolist() == [2.0, 0.0]
    assert box.mean("v").tolist() == [5.25, 1.75]
    assert box.sum("g").tolist() == [12.0, 3.0]


@pytest.mark.parametrize("rule", [Median(), TrimmedMean(trim=2)])
def test_a_robust_rule_keeps_dishonest_clients_from_moving_the_model(rule):
    def work(client, heard, task, ctx):
        g = task.grad(heard["x"])
        g[ctx.ids >= 4] *= -1e6
        return client, {"g": Dense(g)}

    honest = [simulate(Pieces(work=work, lr=1.0), PULLS, rounds=1, aggregator=r).x for r in (rule, Mean())]
    assert honest[0].abs().max() <= 4
    assert honest[1].abs().max() > 1e5


def test_a_round_with_too_few_messages_for_the_rule_is_skipped():
    faults = Faults(uplink_loss=0.8)
    result = simulate(
        Pieces(state={"n": torch.zeros(1, 1)}),
        PULLS,
        rounds=20,
        faults=faults,
        aggregator=TrimmedMean(trim=2),
    )
    few = [r for r in result.history if r.skipped]
    assert {sum(r.rejected.values()) + r.lost for r in few} == {6}
    assert {reason for r in few for reason in r.rejected} == {"too few for the rule"}
    assert all(r.accepted == 0 for r in few)


def test_clients_of_a_skipped_round_keep_their_state():
    result = simulate(
        Pieces(state={"n": torch.zeros(1, 1)}),
        PULLS,
        rounds=1,
        faults=Faults(uplink_loss=0.7),
        aggregator=TrimmedMean(trim=2),
    )
    assert result.history[0].skipped
    assert result.ids.tolist() == []


def test_a_rule_that_can_never_have_enough_messages_is_refused():
    with pytest.raises(
        ConfigError, match=r"aggregator=trimmed_mean: needs at least 5 messages, and cohort=4"
    ):
        simulate(Pieces(), PULLS, cohort=4, aggregator=TrimmedMean(trim=2))


@pytest.mark.parametrize(
    "strategy", [FedAvg(uplink=RandK(0.25)), FedEF(uplink=TopK(0.25)), FedEF(uplink=BlockTopK(0.5))]
)
def test_a_coordinate_wise_rule_refuses_sparse_uplinks_before_any_work(strategy: Strategy):
    with pytest.raises(
        ConfigError, match=r"aggregator=median: needs dense messages, but uplink=.* leaves out"
    ):
        simulate(strategy, PULLS, rounds=1, aggregator=Median())


@pytest.mark.parametrize("strategy", [FedAvg(uplink=Identity()), FedAvg(uplink=QSGD()), FedEF(uplink=Sign())])
def test_a_coordinate_wise_rule_takes_uplinks_that_keep_all_coordinates(strategy: Strategy):
    assert simulate(strategy, PULLS, rounds=1, aggregator=Median()).history[0].accepted == 6


def test_a_coordinate_wise_rule_refuses_sparse_messages_of_a_strategy_of_its_own_making():
    def work(client, heard, task, ctx):
        payload: Payload = TopK(0.25).compress(task.grad(heard["x"]), ctx)
        assert isinstance(payload, Sparse)
        return client, {"g": payload}

    with pytest.raises(ConfigError, match=r"aggregator=median: message 'g' is sparse"):
        simulate(Pieces(work=work), PULLS, rounds=1, aggregator=Median())


def test_rules_are_found_by_name_and_others_refused():
    assert [get(name) for name in names()] == [Mean, Median, TrimmedMean]
    with pytest.raises(
        ConfigError, match=r"aggregator=krumm: no such rule; there are mean, median, trimmed_mean"
    ):
        get("krumm")


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_largest_norm_is_positive(value: float):
    with pytest.raises(ConfigError, match=r"aggregator\.max_norm"):
        Mean(max_norm=value)
