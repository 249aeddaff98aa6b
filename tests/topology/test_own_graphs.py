"""Graphs of users, from files and functions: read as they are meant, or refused with a helpful error."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from topology_cases import dense

from fedsparse.errors import ConfigError, DataError
from fedsparse.graphs import Matrices, require
from fedsparse.mixing.push_sum import PushSum
from fedsparse.topologies.file import File
from fedsparse.topologies.function import Function


@pytest.fixture
def write(tmp_path: Path):
    def written(text: str, name: str = "graph.txt") -> str:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return written


def test_an_edge_list_is_read_with_comments_and_commas(write) -> None:
    path = write("# a path\n0 1\n\n1, 2  # in the middle\n2,3\n")
    assert dense(File(path=path), 4) == pytest.approx(dense(File(path=path), 4).T)
    assert sorted(File(path=path).graph(4).edges) == [(0, 1), (1, 2), (2, 3)]


def test_a_directed_line_says_who_sends(write) -> None:
    W = dense(File(path=write("0 1\n1 2\n2 0\n"), directed=True), 3, mixing=PushSum())
    # Row = receiver: 1 hears 0.
    assert pytest.approx(np.array([[1, 0, 1], [1, 1, 0], [0, 1, 1]]) / 2) == W


def test_weights_of_a_file_are_what_the_receiver_gives_and_it_keeps_the_rest(write) -> None:
    path = write("0 1 0.25\n1 2 0.5\n2 0 0.125\n")
    assert dense(File(path=path, directed=True), 3)[1] == pytest.approx([0.25, 0.75, 0])
    assert dense(File(path=path), 3)[1] == pytest.approx([0.25, 0.25, 0.5])


def test_graphml_is_read_with_its_directions_and_weights(tmp_path: Path) -> None:
    graph = nx.DiGraph()
    graph.add_weighted_edges_from([(0, 1, 0.5), (1, 2, 0.5), (2, 0, 0.5)])
    nx.write_graphml(graph, tmp_path / "graph.graphml")
    W = dense(File(path=str(tmp_path / "graph.graphml")), 3)
    assert pytest.approx(np.array([[1, 0, 1], [1, 1, 0], [0, 1, 1]]) / 2) == W


REFUSED = {
    "0 1\n1 3\n3 0\n": (4, "the nodes must be the clients 0 to 3, numbered without holes; 2 is missing"),
    "0 1\n1 2\n": (5, "3, 4 are missing (the graph has 3 nodes for 5 clients)"),
    "0 1\n1 2\n2 3\n3 4\n": (3, "3, 4 are foreign"),
    "0 1\n1 1\n": (2, "client 1 is its own neighbour; leave self loops out"),
    "0 1 -0.5\n": (2, "the weight of 0 - 1 is -0.5; it must be a number above 0"),
    "0 1 0\n": (2, "the weight of 0 - 1 is 0.0"),
    "0 1 nan\n": (2, "the weight of 0 - 1 is nan"),
    "0 1 0.5\n1 2\n": (3, "1 - 2 has no weight, others have one; give all of them, or none"),
    "0 1 0.75\n1 2 0.75\n": (3, "client 1 gives its neighbours weights that sum to 1.5; at most 1 is there"),
    "0 1\n2 3\n": (4, "is not connected: nothing gets from client 0 to client 2 and back"),
    "0 one\n": (2, "line 1: node 'one' must be the number of a client"),
    "0 -1\n": (2, "line 1: node '-1' must be the number of a client"),
    "0 1\n1 0\n": (2, "line 2: the link 1 - 0 is there twice"),
    "0 1 2 3\n": (2, "line 1: '0 1 2 3' must be two nodes, and a weight if you like"),
    "0 1 heavy\n": (2, "line 1: weight 'heavy' must be a number above 0"),
    "": (2, "0, 1 are missing"),
}


@pytest.mark.parametrize("text", REFUSED, ids=repr)
def test_files_that_are_no_graph_of_the_clients_are_refused(write, text: str) -> None:
    clients, said = REFUSED[text]
    with pytest.raises((ConfigError, DataError)) as caught:
        require(Matrices(File(path=write(text)), clients))
    assert said in str(caught.value)


def test_damaged_and_missing_files_are_refused(write, tmp_path: Path) -> None:
    for path, said in {
        "": "needs topology.path",
        str(tmp_path / "none.txt"): "cannot be read: No such file",
        write("<graphml", "bad.graphml"): "is not a GraphML file",
        write('<graphml xmlns="http://graphml.graphdrawing.org/xmlns"><graph edgedefault="undirected">'
              '<node id="n0"/><node id="n1"/><edge source="n0" target="n1"/></graph></graphml>', "names.graphml"):
        "node 'n0' must be the number of a client",
    }.items():  # fmt: skip
        with pytest.raises((ConfigError, DataError), match=said.replace(".", r"\.")):
            File(path=path).graph(2)
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="is not text"):
        File(path=str(tmp_path / "bytes.txt")).graph(2)


OWN = """
import networkx as nx

def cliques(clients, seed):
    return nx.barbell_graph(clients // 2, 0)

def letters(clients, seed):
    return nx.Graph([("a", "b")])

def matrix(clients, seed):
    return [[0, 1], [1, 0]]

def several(clients, seed):
    return nx.MultiGraph([(0, 1), (0, 1)])

number = 3
"""


def test_a_function_gives_the_graph(write) -> None:
    path = write(OWN, "own.py")
    assert nx.is_isomorphic(Function(function=f"{path}:cliques").graph(8), nx.barbell_graph(4, 0))
    require(Matrices(Function(function=f"{path}:cliques"), 8))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("letters", "0, 1 are missing, 'a', 'b' are foreign"),
        ("matrix", "is a list; a networkx Graph or DiGraph, without parallel edges, is needed"),
        ("several", "is a MultiGraph; a networkx Graph or DiGraph"),
        ("number", "number: is a int; a function (clients, seed) is needed"),
        ("clique", "has no clique; did you mean 'cliques'?"),
    ],
)
def test_functions_that_give_no_graph_are_refused(write, name: str, said: str) -> None:
    path = write(OWN, "own.py")
    with pytest.raises(ConfigError) as caught:
        Matrices(Function(function=f"{path}:{name}"), 2).at(0)
    assert said in str(caught.value)


def test_a_function_must_be_named_with_its_module() -> None:
    with pytest.raises(ConfigError, match=r"needs topology\.function, as package\.module:function"):
        Function().graph(4)
