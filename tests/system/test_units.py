import math

import pytest

from fedsparse.units import bytes_text, number_text, seconds_text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (12_345, "12.3 kB"),
        (99_960, "100 kB"),
        (999_400, "999 kB"),
        (999_600, "1.00 MB"),
        (2_500_000_000, "2.50 GB"),
        (10**21, "1000 EB"),
    ],
)
def test_bytes_have_three_digits_and_a_decimal_prefix(count, text):
    assert bytes_text(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 ms"),
        (0.0124, "12 ms"),
        (0.9999, "1.00 s"),
        (3.454, "3.45 s"),
        (59.96, "1 min 0 s"),
        (125, "2 min 5 s"),
        (3599.7, "1 h 0 min"),
        (12_000, "3 h 20 min"),
        (356_400, "4 d 3 h"),
        (math.nan, "?"),
        (math.inf, "?"),
    ],
)
def test_durations_have_two_units_at_most(seconds, text):
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.91234, "0.9123"), (1234.5, "1234"), (3.21e-7, "3.210e-07"), (math.nan, "nan")],
)
def test_metrics_have_four_digits(value, text):
    assert number_text(value) == text
