import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsparse.errors import ConfigError
from fedsparse.network import NEVER, Links, Network, compute_ns, finish_times, transfer_ns

LOGNORMAL = Network(profile="lognormal")


def same(a: Links, b: Links) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in vars(a))


def at(links: Links, rows) -> Links:
    return Links(**{name: values[rows] for name, values in vars(links).items()})


@given(st.integers(0, 2**62), st.integers(1, 10**15), st.integers(0, 10**12))
def test_transfer_is_the_exact_quotient_rounded_up(nbytes, bps, latency):
    exact = latency + math.ceil(Fraction(nbytes * 8 * 10**9, bps))
    sending = exact - latency
    # One digit of the long division from the end of the range it already says NEVER.
    if sending < NEVER - 1000:
        assert int(transfer_ns(nbytes, bps, latency)) == min(exact, NEVER)
    else:
        assert int(transfer_ns(nbytes, bps, latency)) >= NEVER - 1000


def test_ten_megabit_carry_a_megabyte_in_800_ms_after_the_latency():
    assert int(transfer_ns(1_000_000, 10_000_000, 20_000_000)) == 820_000_000


def test_no_limit_leaves_the_latency():
    assert int(transfer_ns(2**40, 0, 7)) == 7


def test_an_unending_transfer_saturates():
    assert int(transfer_ns(2**62, 1, 5)) == NEVER


def test_compute_time_is_rounded_up():
    assert compute_ns(np.array([1, 2000]), np.array([3.0, 1000.0])).tolist() == [333_333_334, 2_000_000_000]


def test_computing_takes_no_time_at_speed_zero():
    assert int(compute_ns(10**9, 0.0)) == 0


def test_an_unending_computation_saturates():
    assert int(compute_ns(10**18, 1e-300)) == NEVER


def test_a_client_finishes_after_down_compute_and_up():
    links = Network(up=8, down=80, latency=1, speed=100).links(0, [0, 1], 0)
    times = finish_times(links, 1_000_000, np.array([50, 100]), np.array([1_000_000, 0]))
    # 1 ms + 0.1 s, then 0.5 s (1 s), then 1 ms + 1 s (0 s)
    assert times.tolist() == [1_602_000_000, 1_102_000_000]


def test_finish_times_never_overflow():
    links = Network(up=1e-6, down=1e-6, speed=1e-9).links(0, [0], 0)
    assert finish_times(links, 2**62, 2**62, 2**62).tolist() == [NEVER]


def test_the_none_profile_takes_no_time():
    links = Network(profile="none", jitter=1.0).links(3, [0, 5], 1)
    assert finish_times(links, 10**9, 10**9, 10**9).tolist() == [0, 0]


def test_the_constant_profile_is_what_is_configured():
    links = Network(up=10, down=50, latency=20, speed=1000).links(0, [7], 0)
    assert [int(v[0]) for v in vars(links).values()] == [10_000_000, 50_000_000, 20_000_000, 1000]


def test_a_client_has_the_same_line_whoever_else_is_asked():
    everybody = LOGNORMAL.links(1, range(50), 0)
    chosen = [41, 3, 17]
    assert same(LOGNORMAL.links(1, chosen, 0), at(everybody, chosen))


def test_a_line_lasts_over_rounds_without_jitter():
    assert same(LOGNORMAL.links(1, range(5), 0), LOGNORMAL.links(1, range(5), 9))


def test_another_seed_gives_other_lines():
    assert not np.array_equal(LOGNORMAL.links(1, range(5), 0).up_bps, LOGNORMAL.links(2, range(5), 0).up_bps)


def test_jitter_changes_with_the_round():
    network = Network(jitter=0.2)
    assert not np.array_equal(network.links(1, range(5), 0).up_bps, network.links(1, range(5), 1).up_bps)


def test_jitter_does_not_depend_on_who_else_is_asked():
    network = Network(profile="lognormal", jitter=0.2)
    assert same(network.links(1, [9, 4], 3), at(network.links(1, range(10), 3), [9, 4]))


def test_lognormal_lines_have_the_configured_median_and_spread():
    logs = np.log(Network(profile="lognormal", up=10, up_spread=0.5).links(0, range(4000), 0).up_bps / 1e7)
    # Standard errors over 4000 draws: 0.010 of the median, 0.0056 of the spread.
    assert abs(np.median(logs)) < 0.04
    assert abs(logs.std() - 0.5) < 0.02


def test_a_slow_line_never_becomes_an_unlimited_one():
    assert Network(up=1e-9).links(0, [0], 0).up_bps.tolist() == [1]


def test_no_clients_have_no_lines():
    assert LOGNORMAL.links(0, [], 0).up_bps.shape == (0,)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"profile": "wifi"}, "network.profile=wifi"),
        ({"up": -1.0}, "network.up=-1"),
        ({"jitter": math.nan}, "network.jitter=nan"),
        ({"profile": "trace"}, "network.trace"),
        ({"trace": "lines.csv"}, "network.trace=lines.csv"),
    ],
)
def test_an_absurd_network_is_refused_by_its_key(settings, key):
    with pytest.raises(ConfigError, match=key):
        Network(**settings)
