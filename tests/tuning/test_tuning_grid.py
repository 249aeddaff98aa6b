"""From the words of the command to methods, settings and seeds; what makes no sense is refused."""

from __future__ import annotations

import pytest

from fedsparse.errors import ConfigError
from fedsparse.tuning.asked import Tuning, asked
from fedsparse.tuning.grid import edges


def settings(tuning: Tuning) -> dict[str, list[str]]:
    return {method.name: [setting.label for setting in method.settings] for method in tuning.methods}


def test_every_method_gets_the_same_grid_with_the_last_key_fastest() -> None:
    grid = [
        "strategy.lr=0.1 batch=10",
        "strategy.lr=0.1 batch=20",
        "strategy.lr=0.2 batch=10",
        "strategy.lr=0.2 batch=20",
    ]
    tuning = asked(["strategy=fedavg,scafcom", "strategy.lr=0.1,0.2", "batch=10,20", "validation=0.1"])
    assert settings(tuning) == {"fedavg": grid, "scafcom": grid}


def test_each_setting_has_its_configuration() -> None:
    tuning = asked(["strategy=fedavg,scafcom", "strategy.lr=0.1,0.2", "clients=30"])
    configs = [setting.config for method in tuning.methods for setting in method.settings]
    assert [(c.strategy.name, c.strategy.options["lr"], c.clients) for c in configs] == [
        ("fedavg", 0.1, 30),
        ("fedavg", 0.2, 30),
        ("scafcom", 0.1, 30),
        ("scafcom", 0.2, 30),
    ]


def test_what_is_meant_for_one_method_counts_before_what_is_meant_for_all() -> None:
    tuning = asked(
        [
            "strategy=fedavg,scafcom",
            "strategy.lr=0.1,0.2",
            "scafcom:strategy.beta=0.2,0.5",
            "scafcom:strategy.lr=0.3",
        ]
    )
    assert settings(tuning) == {
        "fedavg": ["strategy.lr=0.1", "strategy.lr=0.2"],
        "scafcom": ["strategy.beta=0.2", "strategy.beta=0.5"],
    }
    assert tuning.methods[1].settings[0].config.strategy.options["lr"] == 0.3


def test_a_schedule_and_a_compressor_can_be_in_the_grid() -> None:
    tuning = asked(["strategy=scafcom", "strategy.lr=cosine(0.1,0.01),0.05", "uplink=topk,block_topk"])
    assert tuning.methods[0].grid == {
        "strategy.lr": ["cosine(0.1,0.01)", 0.05],
        "uplink": ["topk", "block_topk"],
    }


def test_seeds_are_three_and_three_unless_given() -> None:
    words = ["strategy=fedavg", "strategy.lr=0.1,0.2"]
    assert asked(words).options.seed == (0, 1, 2)
    assert not set(asked(words).options.seed) & set(asked(words).options.report_seed)
    given = asked([*words, "seed=range(3,5)", "report_seed=9"]).options
    assert (given.seed, given.report_seed) == ((3, 4), (9,))


LR = "strategy.lr=0.1,0.2"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([LR], "which methods"),
        (["strategy=fedavg,scafcon", LR], "strategy=scafcon: no such strategy; did you mean 'scafcom'"),
        (["strategy=fedavg", "strategy.momentun=0.1,0.2"], "has no option 'momentun'; did you mean 'momentum'"),
        (["strategy=fedavg", "selct=best", LR], "there is no key 'selct'; did you mean 'select'"),
        (["strategy=fedavg", "select=worst", LR], "select=worst: must be one of final, best, bytes_to_target"),
        (["strategy=fedavg", "budget=some", LR], "budget=some: must be one of equal, any"),
        (["strategy=fedavg", "strategy.lr=0.1"], "nothing to choose"),
        (["strategy=fedavg", "strategy.lr=0.1,1e-1"], r"strategy.lr=0.1 is twice in the grid"),
        (["strategy=fedavg", "strategy.lr=0.1,-1"], "strategy.lr=-1"),
        (["strategy=fedavg,fedavg", LR], "strategy=fedavg: is there twice"),
        (["strategy=fedavg", LR, "clients=10,20"], "clients=10,...: clients is part of the task"),
        (["strategy=fedavg", LR, "rounds=10,20"], "rounds is part of the task"),
        (["strategy=fedavg", LR, "fedavg:rounds=10"], "fedavg:rounds=10: rounds is part of the task"),
        (["strategy=fedavg", LR, "fedexp:batch=10"], "'fedexp' is no method; there are fedavg|did you mean 'fedavg'"),
        (["strategy=fedavg", LR, "seed=0,x"], "seed=x: must be a whole number"),
        (["strategy=fedavg", LR, "seed=0,0"], "seed=0, 0: a seed is there twice"),
        (["strategy=fedavg", LR, "seed=0,1", "report_seed=1,2"], "report_seed=1: is among the seeds"),
        (["strategy=fedavg", LR, "select=bytes_to_target"], "needs a target"),
        (["strategy=fedavg", LR, "validation=0.1", "metric=accuracy"], "metric=accuracy: is not of the valid"),
        (["strategy=fedavg", LR, "clients"], "write key=value"),
    ],
)  # fmt: skip
def test_mistakes_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        asked(words)


def test_a_key_that_one_method_lacks_is_refused_with_how_to_write_it() -> None:
    with pytest.raises(ConfigError) as refused:
        asked(["strategy=fedavg,scafcom", "strategy.beta=0.2,0.5"])
    assert "strategy=fedavg has no option 'beta'" in str(refused.value)
    assert "for one method alone write scafcom:strategy.beta=0.2,0.5" in str(refused.value)


def test_unequal_budgets_are_refused_unless_they_are_accepted() -> None:
    words = ["strategy=fedavg,scafcom", LR, "scafcom:strategy.beta=0.2,0.5"]
    with pytest.raises(ConfigError, match=r"budget=equal: .*fedavg 2, scafcom 4"):
        asked(words)
    assert [len(m.settings) for m in asked([*words, "budget=any"]).methods] == [2, 4]


def test_the_smallest_and_the_largest_number_lie_on_the_edge() -> None:
    (method,) = asked(["strategy=fedavg", "strategy.lr=0.2,0.1,0.4", "sampler=uniform,weighted"]).methods
    found = {setting.values["strategy.lr"]: edges(method.grid, setting.values) for setting in method.settings}
    assert found == {0.1: ["strategy.lr"], 0.2: [], 0.4: ["strategy.lr"]}
