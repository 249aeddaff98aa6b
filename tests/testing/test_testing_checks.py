"""What the kit takes, what it says, and what it leaves alone."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from broken_form import Undocumented
from broken_state import Counts, GlobalTorch, MixesRows
from sound import Sound
from sound_strategies import SOUND, Everybody, Masked

from fedsparse.compress import QSGD, RandK, TopK
from fedsparse.errors import ConfigError
from fedsparse.message import Dense
from fedsparse.protocol import Context, Message, State, Strategy
from fedsparse.strategies.fedavg import FedAvg
from fedsparse.testing import (
    CHECKS,
    ConformanceError,
    check_loss,
    check_permutation,
    check_resume,
    check_strategy,
    check_theory,
    check_wire,
)
from fedsparse.testing.theory import linear_rate


@pytest.mark.parametrize("strategy", SOUND, ids=lambda cls: cls.__name__)
def test_phases_audiences_held_values_and_schedules_pass(strategy):
    check_strategy(strategy).require()


@pytest.mark.parametrize("uplink", [RandK(0.3), QSGD()])
def test_a_strategy_passes_with_a_random_uplink(uplink):
    check_strategy(FedAvg(uplink=uplink), only=[name for name in CHECKS if name != "theory"]).require()


def test_a_random_uplink_is_replaced_where_clients_trade_places():
    assert "draws nothing" in check_permutation(FedAvg(uplink=RandK(0.3))).explanation


def test_a_deterministic_uplink_is_kept_where_clients_trade_places():
    assert "draws nothing" not in check_permutation(Sound(uplink=TopK(0.3))).explanation


def test_clients_with_random_numbers_of_their_own_cannot_trade_places():
    finding = check_permutation(Masked())
    assert (finding.outcome, "'dither'" in finding.explanation) == ("skipped", True)


def test_messages_that_must_arrive_cannot_be_lost():
    assert check_loss(Everybody()).outcome == "skipped"


def test_a_state_that_changes_without_a_message_is_found():
    @dataclass(frozen=True)
    class Leaks(Sound):
        """Writes to the server's state while it speaks."""

        def broadcast(self, server: State, ctx: Context) -> Message:
            server["x"].add_(1.0)
            return {"x": Dense(server["x"][None])}

    with pytest.raises(
        ConformanceError, match="no message arrived in round 0, and yet server state 'x' differs"
    ):
        check_loss(Leaks())


def test_a_hidden_count_is_lost_with_the_process():
    @dataclass(frozen=True)
    class Hides(Counts):
        """Goes further in every call."""

        def aggregate(self, server, inbox, ctx):
            return {"x": super().aggregate(server, inbox, ctx)["x"] * (1 + self.calls)}

    with pytest.raises(ConformanceError, match="resumed after round 1, server state 'x' differs"):
        check_resume(Hides())


def test_theory_that_is_not_declared_is_reported():
    finding = check_theory(Sound())
    assert (finding.outcome, finding.explanation) == ("skipped", "not declared")


def test_theory_is_tried_with_its_own_settings_whatever_the_object_has():
    assert check_theory(FedAvg(lr=10.0, momentum=0.9)).numbers["distance"] < 1e-8


def test_the_rate_of_fedavg_is_that_of_its_slowest_direction():
    """The error shrinks by the largest eigenvalue of the mean of (I - lr H_i)^steps."""
    from fedsparse.data.quadratic import Quadratics

    problem = Quadratics.drawn(10, 40, 5.0, 0.0, 0)
    eye = torch.eye(40, dtype=torch.float64)
    expected = float(
        torch.linalg.eigvalsh(torch.linalg.matrix_power(eye - 0.02 * problem.H, 5).mean(0)).max()
    )
    assert check_theory(FedAvg()).numbers["rate"] == pytest.approx(expected, rel=5e-3)


def test_a_rate_is_measured_above_rounding_errors():
    assert linear_rate([max(0.5**k, 1e-15) for k in range(80)]) == pytest.approx(0.5)


def test_two_distances_make_no_rate():
    assert math.isnan(linear_rate([1.0, 0.0, 0.0]))


def test_bytes_are_measured():
    """24 float64 and a header of 3 bytes."""
    assert check_wire(FedAvg()).numbers["mean_bytes"] == 24 * 8 + 3


@pytest.mark.parametrize(
    "strategy",
    [FedAvg, FedAvg(), "fedavg", "fedsparse.strategies.fedavg:FedAvg"],
    ids=["class", "object", "name", "path"],
)
def test_a_strategy_may_be_given_in_any_way(strategy):
    assert check_strategy(strategy, only=["dataclass"]).strategy == "FedAvg"


def test_a_file_is_checked_by_its_path(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from dataclasses import dataclass\nfrom fedsparse.strategies.fedavg import FedAvg\n\n\n"
        "@dataclass(frozen=True)\nclass Mine(FedAvg):\n    '''FedAvg.'''\n"
    )
    assert check_strategy(str(file), only=["documented", "stable"]).passed


def test_an_unknown_check_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'blocks'"):
        check_strategy(FedAvg, only=["block"])


def test_a_class_that_needs_arguments_is_refused():
    @dataclass(frozen=True)
    class Needs(Strategy):
        lr: float

    with pytest.raises(ConfigError, match="Needs cannot be made without arguments"):
        check_strategy(Needs)


def test_checks_that_build_on_a_failed_one_are_not_run():
    report = check_strategy(Counts)
    assert report["blocks"].explanation == "not run, because 'pure' failed"


def test_require_says_what_failed():
    with pytest.raises(
        ConformanceError,
        match=rf"Undocumented fails 1 of {len(CHECKS)} checks: documented: .* has no docstring",
    ):
        check_strategy(Undocumented).require()


def test_the_explanation_of_a_mixed_block_names_the_value_and_the_round():
    report = check_strategy(MixesRows, only=["blocks"])
    assert (
        "with blocks of 1 instead of blocks of 5, server state 'x' differs by up to"
        in report["blocks"].explanation
    )
    assert "after 1 rounds" in report["blocks"].explanation


def test_the_guilty_function_is_named():
    found = check_strategy(GlobalTorch, only=["randomness"])["randomness"].explanation
    assert found.startswith("aggregate drew from torch's global generator")


def test_an_exception_in_a_strategy_is_a_finding():
    @dataclass(frozen=True)
    class Raises(Sound):
        """Cannot count."""

        def change(self, heard, task):
            return heard["x"] / heard["y"]

    found = check_strategy(Raises)["stable"]
    assert (found.outcome, found.explanation.endswith("KeyError: 'y'")) == ("failed", True)


def test_the_callers_random_state_survives_a_strategy_that_draws_from_it():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    check_strategy(GlobalTorch)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
