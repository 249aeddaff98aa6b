"""Partitions whose holdings are drawn when they are asked for."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsparse.data import Dataset, load, overview
from fedsparse.data.__main__ import main
from fedsparse.data.partition import Partition, partition
from fedsparse.errors import ConfigError, DataError

DIGITS = load("digits")
N = len(DIGITS.x)


def drawn(clients: int = 100, seed: int = 0, **options: object) -> Partition:
    return partition("bootstrap", DIGITS, clients, seed, **options)


def shares(held: Partition, clients: int) -> np.ndarray:
    """Labels of the first clients, ``[clients, 10]``, each row adding up to one."""
    counts = overview.histogram(held, DIGITS.y, 10, np.arange(clients))
    return counts / counts.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("options", [{}, {"alpha": 0.3}])
def test_what_a_client_holds_does_not_depend_on_who_else_is_registered(options: dict[str, float]) -> None:
    few, many = drawn(1000, **options), drawn(1_000_000, **options)
    for client in (0, 7, 999):
        assert np.array_equal(few.examples(client), many.examples(client))


@pytest.mark.parametrize("options", [{}, {"alpha": 0.3}])
def test_seed_and_client_decide(options: dict[str, float]) -> None:
    held, same, other = (drawn(seed=seed, **options) for seed in (1, 1, 2))
    assert np.array_equal(held.examples(3), same.examples(3))
    assert not np.array_equal(held.examples(3), other.examples(3))
    assert not np.array_equal(held.examples(3), held.examples(4))


def test_asking_in_another_order_or_again_changes_nothing() -> None:
    held = drawn(alpha=0.5)
    forth = [held.examples(client).tolist() for client in range(5)]
    back = [held.examples(client).tolist() for client in reversed(range(5))]
    assert forth == back[::-1]


def test_another_process_draws_the_same() -> None:
    script = """
from fedsparse.data import load
from fedsparse.data.partition import partition
print(partition("bootstrap", load("digits"), 10**6, 5, size=7, alpha=0.3).examples(123456).tolist())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(drawn(10**6, 5, size=7, alpha=0.3).examples(123456).tolist())


@given(size=st.integers(1, 3 * N), alpha=st.none() | st.floats(1e-3, 1e3), client=st.integers(0, 10**6 - 1))
@settings(max_examples=50)
def test_a_client_has_as_many_as_said_all_of_them_there_ascending(
    size: int, alpha: float | None, client: int
) -> None:
    held = drawn(10**6, size=size, alpha=alpha)
    own = held.examples(client)
    assert own.dtype == np.int64
    assert len(own) == size == held.largest == held.sizes(np.array([client]))[0]
    assert own[0] >= 0
    assert own[-1] < N
    assert (np.diff(own) >= 0).all()


def test_all_sizes_and_the_total_are_known_without_drawing() -> None:
    held = drawn(1000, size=12)
    assert held.sizes().tolist() == [12] * 1000
    assert (held.clients, held.total) == (1000, 12_000)


def test_every_example_is_as_likely_as_any_other() -> None:
    held = drawn(5000, size=100)
    counts = np.bincount(np.concatenate([held.examples(i) for i in range(5000)]), minlength=N)
    expected = 5000 * 100 / N
    # Chi-squared with N - 1 degrees of freedom: mean N - 1, deviation sqrt(2 (N - 1)).
    chi = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi - (N - 1)) < 4 * np.sqrt(2 * (N - 1))


@pytest.mark.parametrize("alpha", [0.3, 10.0])
def test_the_labels_of_all_clients_together_are_those_of_the_data_set(alpha: float) -> None:
    uneven = Dataset(
        "uneven", DIGITS.x[:700], np.minimum(DIGITS.y[:700], 2), DIGITS.x[:1], DIGITS.y[:1] * 0, 10
    )
    held = partition("bootstrap", uneven, 4000, 0, alpha=alpha)
    counts = overview.histogram(held, uneven.y, 10, np.arange(4000)).sum(axis=0)
    assert np.allclose(counts / counts.sum(), np.bincount(uneven.y, minlength=10) / 700, atol=0.03)
    assert counts[3:].sum() == 0


def test_the_variance_of_a_clients_labels_is_that_of_the_dirichlet_distribution() -> None:
    # Var q_k = p_k (1 - p_k) / (10 alpha + 1), and that of the count of size draws / size adds E[q_k (1 - q_k)] / size.
    alpha, size = 0.2, 200
    p = np.bincount(DIGITS.y, minlength=10) / N
    among = p * (1 - p) / (10 * alpha + 1)
    expected = among + (p - p**2 - among) / size
    found = shares(drawn(4000, alpha=alpha, size=size), 4000).var(axis=0)
    assert np.allclose(found, expected, rtol=0.15)


@pytest.mark.parametrize("alpha", [0.03, 0.3, 3.0])
def test_the_skew_is_that_of_a_dirichlet_partition_with_the_same_alpha(alpha: float) -> None:
    own = drawn(200, alpha=alpha, size=N // 20).summary(DIGITS.y, 10)["skew"]
    others = [
        partition("dirichlet", DIGITS, 20, s, alpha=alpha).summary(DIGITS.y, 10)["skew"] for s in range(10)
    ]
    assert abs(own - np.mean(others)) < 0.06


def test_label_skew_grows_as_alpha_shrinks() -> None:
    skews = [drawn(alpha=alpha).summary(DIGITS.y, 10)["skew"] for alpha in (100.0, 1.0, 0.1, 0.01, 1e-6)]
    assert skews == sorted(skews)
    assert skews[-1] > 0.85


@pytest.mark.parametrize("alpha", [1e-6, 1e9])
def test_the_most_extreme_alpha_gives_every_client_its_examples(alpha: float) -> None:
    assert len(drawn(alpha=alpha).examples(0)) == 60


def test_a_million_clients_take_no_memory_and_the_labels_4_bytes_an_example() -> None:
    for options, expected in (({}, 0), ({"alpha": 0.3}, 4 * N + 8 * 11)):
        make, arrays = drawn(10**6, **options).parts()
        assert sum(array.nbytes for array in arrays.values()) == expected
        assert len(pickle.dumps(make)) < 400


def test_the_rule_travels_and_the_arrays_are_shared() -> None:
    held = drawn(alpha=0.3)
    make, arrays = held.parts()
    again = pickle.loads(pickle.dumps(make))(**arrays)  # noqa: S301 - our own bytes
    assert again.order is held.order
    assert np.array_equal(again.examples(17), held.examples(17))


@pytest.mark.parametrize(
    ("clients", "options", "kind", "said"),
    [
        (10, {"size": 0}, ConfigError, "size=0: must be a whole number, at least 1"),
        (10, {"size": 1.5}, ConfigError, "size=1.5"),
        (0, {}, ConfigError, "clients=0"),
        (
            10,
            {"alpha": 0.0},
            ConfigError,
            "alpha=0.0: must be a finite number, at least 1e-06, at most 1e+09",
        ),
        (10, {"alpha": float("nan")}, ConfigError, "alpha=nan"),
        (10, {"alhpa": 1.0}, ConfigError, "Did you mean 'alpha'?"),
    ],
)
def test_what_cannot_be_is_refused(clients, options, kind, said) -> None:
    with pytest.raises(kind) as caught:
        drawn(clients, **options)
    assert said in str(caught.value)


def test_alpha_needs_labels_and_the_rest_does_not() -> None:
    x = np.zeros((6, 4), np.int64)
    tokens = Dataset("tokens", x, x, x, x, classes=2)
    assert len(partition("bootstrap", tokens, 2, 0).examples(1)) == 60
    with pytest.raises(DataError, match=r"'bootstrap with alpha' needs one label .*; leave out alpha"):
        partition("bootstrap", tokens, 2, 0, alpha=0.3)


@pytest.mark.parametrize("client", [-1, 100])
def test_there_are_no_other_clients(client: int) -> None:
    with pytest.raises(IndexError, match="of 100"):
        drawn(100).examples(client)


def test_a_summary_of_many_clients_looks_at_some_and_says_so() -> None:
    many = drawn(1_000_000, size=5).summary(DIGITS.y, 10)
    assert many["clients"] == 1_000_000
    assert many["clients looked at"] == overview.MOST
    assert many["examples"] == 5_000_000
    assert "left out" not in many
    assert "clients looked at" not in drawn(100).summary(DIGITS.y, 10)


def test_a_million_clients_are_summed_up_and_drawn_from_the_command_line(tmp_path, capsys) -> None:
    plot = tmp_path / "out.svg"
    words = [
        "partition=bootstrap",
        "clients=1000000",
        "partition.size=3",
        "partition.alpha=0.1",
        f"plot={plot}",
    ]
    assert main(["digits", *words]) == 0
    assert "clients looked at" in capsys.readouterr().out
    assert b"<svg" in plot.read_bytes()
