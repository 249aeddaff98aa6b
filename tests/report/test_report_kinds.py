"""Runs of different kinds in one report: with a server, by gossip, on devices of Flower."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from report_cases import made

from fedsparse import run
from fedsparse.report.command import main

COMMON = (
    "clients=8",
    "cohort=8",
    "rounds=3",
    "eval_every=1",
    "engine=local",
    "engine.workers=1",
    "quiet=true",
)
FLOWER = {"name": "flower", "options": {"clock": "virtual", "patience": 600.0, "wait": 300.0}}
LINKS = ("--network", "10Mbps/1Mbps,50ms")


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a server and one by gossip, as they ran, and one with the configuration of devices."""
    folder = tmp_path_factory.mktemp("kinds") / "runs"
    for name, words in {"server": ["strategy=topk"], "gossip": ["strategy=dpsgd", "topology=ring"]}.items():
        assert run.main([*words, *COMMON, f"runs={folder}", f"name={name}"]) == 0
    made(folder / "flower", [0.2, 0.4, 0.5], engine=FLOWER)
    return folder


def test_runs_of_different_kinds_are_one_report(kinds: Path, tmp_path: Path):
    assert main([str(kinds), "--out", str(tmp_path), "--formats", "html,md,svg"]) == 0
    said = (tmp_path / "report.md").read_text()
    assert all(f"| {name} |" in said for name in ("topk", "dpsgd", "scafcom"))
    assert "bytes on the air" in (tmp_path / "index.html").read_text()
    assert (tmp_path / "accuracy-radio_bytes.svg").exists()
    assert "engine" not in said  # where it ran has no part in the result


def test_over_other_links_gossip_is_left_out_and_it_says_why(kinds: Path, tmp_path: Path):
    assert main([str(kinds), "--out", str(tmp_path), "--formats", "md", *LINKS]) == 0
    said = (tmp_path / "report.md").read_text()
    assert "gossip is not priced anew: what each client hears is not in the records" in said
    assert "| dpsgd |" not in said


def test_gossip_alone_over_other_links_is_answered_in_one_line(
    kinds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main([str(kinds / "gossip"), "--out", str(tmp_path), *LINKS]) == 2
    text = capsys.readouterr().err
    assert "gossip is not priced anew" in text
    assert text.count("\n") == 1


def test_a_report_imports_neither_torch_nor_ray(kinds: Path, tmp_path: Path):
    code = (
        "import sys, json; from fedsparse.report import main; status = main(sys.argv[2:])\n"
        "loaded = [m for m in ('torch', 'ray', 'flwr', 'matplotlib') if m in sys.modules]\n"
        "open(sys.argv[1], 'w').write(json.dumps([status, loaded]))"
    )
    found = tmp_path / "found.json"
    words = [str(kinds), "--out", str(tmp_path / "out")]
    subprocess.run([sys.executable, "-c", code, str(found), *words], capture_output=True, check=True)
    assert json.loads(found.read_text()) == [0, []]
