import numpy as np
import pytest

from fedsparse.engine.faults import Faults
from fedsparse.errors import ConfigError

IDS = np.arange(4000)


def test_nothing_fails_by_default():
    faults = Faults()
    assert not faults.absent(0, 0, IDS).any()
    assert not faults.lost("up", 0, 0, "train", 0, IDS).any()


def test_a_share_of_one_is_everybody():
    assert Faults(dropout=1.0).absent(0, 0, IDS).all()


def test_the_share_that_fails_is_the_configured_one():
    # Standard deviation of the mean: 0.0063.
    assert abs(Faults(dropout=0.2).absent(0, 0, IDS).mean() - 0.2) < 0.025


def test_a_client_fails_whoever_else_is_asked():
    faults = Faults(uplink_loss=0.5)
    chosen = np.array([900, 3, 41])
    everybody = faults.lost("up", 1, 2, "train", 0, IDS)
    assert np.array_equal(faults.lost("up", 1, 2, "train", 0, chosen), everybody[chosen])


def test_each_direction_has_its_own_share():
    faults = Faults(uplink_loss=1.0)
    assert not faults.lost("down", 0, 0, "train", 0, IDS).any()


def test_seeds_rounds_phases_attempts_and_directions_are_independent():
    faults = Faults(uplink_loss=0.5, downlink_loss=0.5)
    draws = [
        faults.lost(*name, IDS)
        for name in [
            ("up", 0, 0, "train", 0),
            ("down", 0, 0, "train", 0),
            ("up", 1, 0, "train", 0),
            ("up", 0, 1, "train", 0),
            ("up", 0, 0, "mix", 0),
            ("up", 0, 0, "train", 1),
        ]
    ]
    agreement = [(a == b).mean() for i, a in enumerate(draws) for b in draws[:i]]
    # Standard deviation 0.008.
    assert np.abs(np.array(agreement) - 0.5).max() < 0.04


def test_an_attempt_and_a_phase_cannot_be_confused():
    faults = Faults(uplink_loss=0.5)
    assert not np.array_equal(
        faults.lost("up", 0, 0, "1:mix", 0, IDS), faults.lost("up", 0, 0, "mix", 1, IDS)
    )


@pytest.mark.parametrize("key", ["dropout", "uplink_loss", "downlink_loss"])
@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_an_absurd_share_is_refused(key, share):
    with pytest.raises(ConfigError, match=f"faults.{key}="):
        Faults(**{key: share})
