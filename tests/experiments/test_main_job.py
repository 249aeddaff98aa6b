"""What the README's first command promises."""

from pathlib import Path

import pytest

from fedsparse import config, recorded

COMMON = ["clients=100", "engine=local", "engine.workers=1", "quiet=true"]


@pytest.mark.slow
def test_scafcom_reaches_its_accuracy_with_a_hundredth_of_the_uplink(tmp_path: Path) -> None:
    accuracies = []
    for seed in (0, 1, 2):
        made = config.parse(["strategy=scafcom", *COMMON, f"seed={seed}", f"runs={tmp_path}"])
        summary = recorded.run(made)
        accuracies.append(summary.final["accuracy"])
        dense_fedavg = summary.traffic["up_dense_bytes"]  # one vector a client and round, as FedAvg sends
        assert summary.up_bytes <= 0.03 * dense_fedavg
    assert sum(accuracies) / 3 >= 0.93
