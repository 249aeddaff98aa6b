"""``python -m fedsparse.topology``: the table, the pictures, the help, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from fedsparse import registry
from fedsparse.config import GROUPS, build, from_yaml, parse, to_yaml
from fedsparse.errors import ConfigError
from fedsparse.graphs import Matrices
from fedsparse.mixing.lazy import Lazy
from fedsparse.mixing.max_degree import MaxDegree
from fedsparse.mixing.push_sum import PushSum
from fedsparse.topologies.exponential import Exponential
from fedsparse.topologies.matching import Matching
from fedsparse.topologies.random_regular import RandomRegular
from fedsparse.topologies.ring import Ring
from fedsparse.topologies.sequence import Sequence
from fedsparse.topology import main, report
from fedsparse.topology.picture import picture


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]):
    def run(line: str, status: int = 0) -> str:
        assert main(line.split()) == status
        found = capsys.readouterr()
        return " ".join((found.err if status else found.out).split())

    return run


def test_the_table_has_degree_gap_half_life_and_bytes(said) -> None:
    text = said("ring n=64 parameters=1000")
    # ρ = (1 + 2 cos(2π/64)) / 3 = 0.996790; ln 2 / -ln ρ = 215.6; 128 messages of 4000 bytes.
    parts = (
        "ring, 64 clients, static",
        "metropolis, doubly stochastic",
        "degree │ 2 │",
        "0.00321018 (1 - ρ, ρ = 0.996790)",
        "in 215.6 rounds",
        "512 kB: 128 messages of 1,000 parameters, 4 bytes each",
    )
    assert [part for part in parts if part not in text] == []


def test_push_sum_sends_one_number_more() -> None:
    plain, pushed = (report(Matrices(Exponential(), 8, rule), 10) for rule in (None, PushSum()))
    assert (plain.bytes, pushed.bytes) == (24 * 4 * 10, 24 * 4 * 11)


@pytest.mark.parametrize("name", sorted(set(registry.topologies.names()) - {"star", "file", "function"}))
def test_every_topology_is_described(said, name: str) -> None:
    assert f"{name}, 16 clients" in said(name)


@pytest.mark.parametrize("name", registry.mixings.names())
def test_every_rule_is_taken(said, name: str) -> None:
    if name == "fdla":
        pytest.importorskip("cvxpy", reason="needs the extra fdla")
    assert f"mixing │ {name}, doubly stochastic" in said(f"torus mixing={name}")


def test_exact_agreement_and_sequences_are_named(said) -> None:
    assert "all agree exactly after 4 rounds" in said("one_peer_exponential n=16")
    assert "all agree exactly after 1 round │" in said("complete n=5")
    assert "never repeats" in said("epidemic")
    assert "hears" in said("epidemic")


def test_options_of_topologies_and_rules_are_taken(said) -> None:
    text = said("topology=sequence topology.of=[ring,random_regular(degree=5)] topology.every=2 n=20")
    assert "repeats after 4 exchanges" in text
    assert "2 to 5" in text
    assert "lazy" in said("ring mixing=lazy mixing.of=max_degree")


def test_the_picture_has_a_dot_where_a_row_hears_a_column() -> None:
    W = csr_array(np.array([[0.5, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0.5, 0, 0, 0.5]]))
    # Row 0 hears column 1: the upper right dot of the first character. Row 3 hears column 0: its lower left dot.
    assert picture(W) == [chr(0x2800 + 0x08 + 0x40) + chr(0x2800)]


def test_pictures_of_many_clients_share_dots() -> None:
    lines = picture(Matrices(Ring(), 1000).at(0))
    assert (len(lines), len(lines[0])) == (12, 24)


@pytest.mark.parametrize(
    "line", ["ring n=20", "exponential n=12", "geometric n=30", "base_graph n=6", "ring n=500"]
)
def test_pictures_are_drawn(said, tmp_path: Path, line: str) -> None:
    said(f"{line} draw={tmp_path}/graph.png")
    assert (tmp_path / "graph.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


REFUSED = {
    "rin": "topology=rin: no such topology; did you mean 'ring'? There are barabasi_albert",
    "ring mixing=metropoli": "mixing=metropoli: no such mixing rule; did you mean 'metropolis'?",
    "ring m=3": "there is no key 'm'",
    "ring clients=3": "there is no key 'clients'; there are topology, mixing, n, seed, parameters, draw",
    "ring n=1": "n=1: must be a number at least 2",
    "ring n=many": "n=many: must be a whole number",
    "ring n=2,3": "n=2,3: has several values",
    "ring n.x=2": "n is a value and has no options",
    "n=3": "which topology? give its name first",
    "ring topology.degree=3": "topology=ring has no option 'degree'",
    "random_regular topology.degre=3": "did you mean 'degree'?",
    "random_regular topology.degree=0": "topology.degree=0: must be a number at least 1",
    "ring mixing.of=metropolis": "mixing.of: there is no rule to set it for; choose one, as in mixing=lazy",
    "ring mixing=lazy mixing.of=metropoli": "metropoli: no such mixing",
    "matching topology.of=rin": "rin: no such topology; did you mean 'ring'?",
    "matching topology.of=random_regular(degre=3)": "topology.of.degre=3: no such option; did you mean 'degree'?",
    "matching topology.of=(": "must be a topology, name or name(option=value,...)",
    "sequence topology.of=ring": "must be a list [..], each a topology, name or 'name(option=value,...)'",
    "star": "its clients talk to a server, and not to each other; the star whose centre is a client is topology=hub",
    "hypercube n=12": "needs a power of two of clients, not 12",
    "exponential mixing=metropolis": "needs links that go both ways; choose mixing=push_sum or mixing=uniform",
    "ring draw=/no/such/folder/x.png": "draw=/no/such/folder/x.png: cannot be written",
    "ring draw=x.notaformat": "draw=x.notaformat: cannot be written: Format 'notaformat' is not supported",
    "--help rin": "no such topology; did you mean 'ring'?",
}  # fmt: skip


@pytest.mark.parametrize("line", REFUSED)
def test_mistakes_are_answered_with_what_there_is(said, line: str) -> None:
    assert REFUSED[line] in said(line, status=2)


def test_the_help_lists_all_there_is(said) -> None:
    text = said("--help")
    assert all(f" {name} " in text for name in [*registry.topologies.names(), *registry.mixings.names()])
    assert said("") == text
    assert "topology.degree" in said("--help random_regular")
    assert "mixing.of" in said("--help mixing=lazy")


def test_the_command_starts_without_torch() -> None:
    code = (
        "import sys; from fedsparse.topology import main; main(['ring']); "
        "print(sorted({'torch', 'ray'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_runs_refuse_a_graph_for_a_strategy_with_a_server() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(["topology=torus", "topology.rows=2"])
    assert "topology=torus: strategy=fedavg needs a server; leave topology out" in str(caught.value)


def test_runs_know_the_star_of_servers() -> None:
    config = parse(["topology=star"])
    assert build(config, "topology").server
    assert from_yaml(to_yaml(config)).topology == config.topology


def test_parts_of_options_are_objects() -> None:
    made = GROUPS["topology"].build("sequence", {"of": ["ring", "random_regular(degree=6)"], "every": 3})
    assert made == Sequence(of=(Ring(), RandomRegular(degree=6)), every=3)
    assert GROUPS["topology"].build("matching", {"of": "ring"}) == Matching(of=Ring())
    assert GROUPS["mixing"].build("lazy", {"of": "max_degree"}) == Lazy(of=MaxDegree())


def test_parts_of_options_are_shown_as_they_are_typed() -> None:
    defaults = {spec.name: spec.default for spec in GROUPS["topology"].options("sequence")}
    assert defaults == {"of": ["ring", "path"], "every": 1}
    assert {spec.name: spec.default for spec in GROUPS["mixing"].options("lazy")} == {"of": "metropolis"}
