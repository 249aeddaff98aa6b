"""What a run would have cost over other links: held against the run over those links."""

from pathlib import Path

import numpy as np
import pytest
from report_cases import made

from fedsparse import run
from fedsparse.errors import ConfigError
from fedsparse.report.course import Run
from fedsparse.report.reading import read_run
from fedsparse.report.whatif import priced_anew
from fedsparse.report.whatif.links import Line, parse_line
from fedsparse.runfolder import read_rounds

LINKS = ["network.up=1", "network.down=10", "network.latency=50"]
THE_SAME = "10Mbps/1Mbps,50ms"


def trained(folder: Path, name: str, *words: str) -> Run:
    common = ["engine=local", "engine.workers=1", "quiet=true", "clients=20", "rounds=3", "eval_every=1"]
    assert run.main([*common, f"runs={folder}", f"name={name}", *words]) == 0
    return read_run(folder / name)


@pytest.mark.parametrize("strategy", ["fedavg", "topk", "scaffold"])
def test_a_run_is_priced_as_if_it_had_been_run_over_the_links(tmp_path: Path, strategy: str):
    """Messages of top-k differ by some bytes from client to client, which is all that there is between the two."""
    recorded = trained(tmp_path, "recorded", f"strategy={strategy}")
    real = trained(tmp_path, "real", f"strategy={strategy}", *LINKS)
    (priced,), refused, notes = priced_anew([recorded], THE_SAME, None)
    assert refused == []
    assert len(notes) == 1
    assert priced.course.cost("virtual_s") == pytest.approx(real.course.cost("virtual_s"), rel=1e-4)
    assert np.array_equal(priced.course.metric("accuracy"), real.course.metric("accuracy"))
    assert priced.course.cost("virtual_s")[-1] > 1.2 * recorded.course.cost("virtual_s")[-1]


def test_where_clients_differ_it_says_that_it_is_no_more_than_an_estimate(tmp_path: Path):
    recorded = trained(tmp_path, "recorded", "strategy=topk", "network=lognormal")
    _, _, notes = priced_anew([recorded], THE_SAME, None)
    assert notes[-1].startswith(
        "Not exact for 1 of 1 runs: links and speeds of single clients are not in the records"
    )


def test_half_as_wide_values_take_half_the_bytes_and_their_places_as_many(tmp_path: Path):
    recorded = trained(tmp_path, "recorded", "strategy=topk", "uplink.fraction=0.1")
    (priced,), _, _ = priced_anew([recorded], None, "fp16")
    sent = [record["traffic"] for record in read_rounds(recorded.path)]
    # A network of 64, 200 and 10 units has 15,010 parameters; ten clients of a round send 1,501 each.
    up = np.cumsum([t["up_payload_bytes"] + t["up_header_bytes"] - 2 * 10 * 1501 for t in sent])
    down = np.cumsum([t["down_payload_bytes"] + t["down_header_bytes"] - 2 * 10 * 15010 for t in sent])
    assert priced.course.cost("up_bytes").tolist() == up.tolist()
    assert priced.course.cost("total_bytes").tolist() == (up + down).tolist()
    assert (priced.course.cost("virtual_s") < recorded.course.cost("virtual_s")).all()


def test_narrower_values_cost_what_they_cost_in_a_run_that_sends_them(tmp_path: Path):
    """The compressor's own 16 bits: only the uplink's bytes are the same, the other way is dense there."""
    real = trained(tmp_path, "real", "strategy=topk", "uplink.values=fp16")
    (back,), _, _ = priced_anew([real], None, "fp32")
    sent = [record["traffic"]["up_messages"] for record in read_rounds(real.path)]
    # 1 % of 15,010 parameters, two bytes more each.
    more = np.cumsum(sent) * 150 * 2
    assert back.course.cost("up_bytes").tolist() == (real.course.cost("up_bytes") + more).tolist()


def test_the_same_values_cost_the_same(tmp_path: Path):
    recorded = trained(tmp_path, "recorded", "strategy=scallion")
    (priced,), _, _ = priced_anew([recorded], None, "fp32")
    for axis in ("up_bytes", "total_bytes", "virtual_s"):
        assert priced.course.cost(axis) == pytest.approx(recorded.course.cost(axis), rel=1e-12)


@pytest.mark.parametrize(
    ("config", "network", "codec", "why"),
    [
        ({"deadline": 2.0}, THE_SAME, None, "let the links decide who is heard"),
        ({"over_select": 0.3}, THE_SAME, None, "let the links decide who is heard"),
        ({"topology": {"name": "ring"}}, THE_SAME, None, "gossip is not priced anew"),
        (
            {"uplink": {"name": "qsgd", "options": {}}},
            None,
            "fp16",
            "uplink=qsgd: the records do not say how many",
        ),
        ({"network": {"name": "lognormal", "options": {}}}, None, "fp32", "give --network, too"),
    ],
)
def test_what_the_records_do_not_say_is_refused(tmp_path: Path, config, network, codec, why: str):
    recorded = read_run(made(tmp_path / "run", [0.5], **config))
    priced, refused, _ = priced_anew([recorded], network, codec)
    assert priced == []
    assert why in refused[0].reason


def test_values_of_a_problem_may_be_wider(tmp_path: Path):
    recorded = read_run(made(tmp_path / "run", [0.5], metric="distance"))
    _, refused, _ = priced_anew([recorded], None, "fp16")
    assert "a problem may compute in 64 bits" in refused[0].reason


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("10Mbps/1Mbps,50ms", Line(1e7, 1e6, 0.05)),
        ("100kbps", Line(1e5, 1e5, 0.0)),
        ("1.5 Gbps / 2 Mbps, 1 s", Line(1.5e9, 2e6, 1.0)),
    ],
)
def test_links_are_written_down_up_delay(text: str, line: Line):
    assert parse_line(text) == line


@pytest.mark.parametrize("text", ["10", "10MB/1MB", "0Mbps", "1Mbps,fast", "/1Mbps", ""])
def test_links_that_are_none_are_refused(text: str):
    with pytest.raises(ConfigError, match="--network"):
        parse_line(text)
