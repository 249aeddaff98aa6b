import numpy as np
import pytest

from fedsparse.errors import DataError
from fedsparse.network import Network

HEADER = "client,up_mbps,down_mbps,latency_ms,examples_per_s\n"


@pytest.fixture
def trace(tmp_path):
    def write(text: str) -> Network:
        path = tmp_path / "lines.csv"
        path.write_text(text)
        return Network(profile="trace", trace=str(path))

    return write


def test_rows_belong_to_the_clients_they_name(trace):
    links = trace(HEADER + "1,2,20,5,200\n0,1,10,4.5,100\n").links(0, [0, 1], 0)
    assert links.up_bps.tolist() == [1_000_000, 2_000_000]
    assert links.down_bps.tolist() == [10_000_000, 20_000_000]
    assert links.latency_ns.tolist() == [4_500_000, 5_000_000]
    assert links.examples_per_s.tolist() == [100.0, 200.0]


def test_clients_beyond_the_file_start_again_at_its_first(trace):
    assert trace(HEADER + "0,1,1,1,1\n1,2,2,2,2\n").links(0, [4, 5], 0).up_bps.tolist() == [
        1_000_000,
        2_000_000,
    ]


def test_columns_may_be_in_any_order_with_others_between(trace):
    text = "model,client,latency_ms,examples_per_s,down_mbps,up_mbps\nphone,0,1,2,3,4\n"
    assert np.array_equal(trace(text).links(0, [0], 0).up_bps, [4_000_000])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no column client"),
        ("client,up_mbps\n0,1\n", "no column down_mbps"),
        (HEADER, "no rows"),
        (HEADER + "0,1,1,1,1\n2,1,1,1,1\n", "no row for client 1"),
        (HEADER + "0,1,1,1,1\n0,1,1,1,1\n", "line 3: client 0 has a row already"),
        (HEADER + "x,1,1,1,1\n", "line 2: client='x'"),
        (HEADER + "0,fast,1,1,1\n", "line 2: up_mbps='fast'"),
        (HEADER + "0,1,nan,1,1\n", "line 2: down_mbps='nan'"),
        (HEADER + "0,1,1,-1,1\n", "line 2: latency_ms='-1'"),
        (HEADER + "0,1,1,1\n", "line 2: examples_per_s=None"),
    ],
)
def test_a_damaged_trace_is_refused_with_its_line(trace, text, problem):
    with pytest.raises(DataError, match=problem):
        trace(text)


def test_a_missing_trace_is_refused_before_any_work():
    with pytest.raises(DataError, match=r"nowhere\.csv cannot be read"):
        Network(profile="trace", trace="nowhere.csv")


def test_a_binary_trace_is_refused(tmp_path):
    path = tmp_path / "lines.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read"):
        Network(profile="trace", trace=str(path))
