"""Graphs from files."""

from __future__ import annotations

from pathlib import Path

import networkx as nx

from fedsparse.errors import DataError

__all__ = ["read_graph"]


def read_graph(path: str, *, directed: bool = False) -> nx.Graph:
    """The graph of a file: GraphML (``.graphml``, ``.xml``), anything else an edge list.

    A line of an edge list has two node numbers and, if it likes, a weight, with spaces or commas between; ``#``
    starts a comment.

    Args:
        path: the file.
        directed: whether a line ``u v`` says that u sends to v and not the other way; GraphML says so itself.

    Raises:
        DataError: it is missing or damaged, a node is not a number, or a link is there twice.
    """
    file = Path(path).expanduser()
    try:
        if file.suffix.lower() in {".graphml", ".xml"}:
            return _graphml(file)
        return _edge_list(file, file.read_text(encoding="utf-8"), directed)
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(
            f"{file}: is not text; edge lists are text, GraphML files end with .graphml"
        ) from None


def _graphml(file: Path) -> nx.Graph:
    try:
        graph = nx.read_graphml(file)
    except (nx.NetworkXError, SyntaxError, ValueError, KeyError) as error:  # damaged XML is a SyntaxError
        raise DataError(f"{file}: is not a GraphML file: {error}") from None
    return nx.relabel_nodes(graph, {node: _number(str(node), str(file)) for node in graph})


def _edge_list(file: Path, text: str, directed: bool) -> nx.Graph:
    graph = nx.DiGraph() if directed else nx.Graph()
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].replace(",", " ").split()
        if not words:
            continue
        where = f"{file}, line {number}"
        if len(words) not in (2, 3):
            raise DataError(f"{where}: '{line.strip()}' must be two nodes, and a weight if you like")
        u, v = (_number(word, where) for word in words[:2])
        if graph.has_edge(u, v):
            raise DataError(f"{where}: the link {u} - {v} is there twice")
        graph.add_edge(u, v, **({"weight": _weight(words[2], where)} if len(words) == 3 else {}))
    return graph


def _number(word: str, where: str) -> int:
    if not word.isascii() or not word.isdigit():
        raise DataError(f"{where}: node '{word}' must be the number of a client, 0, 1, 2, ...")
    return int(word)


def _weight(word: str, where: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise DataError(f"{where}: weight '{word}' must be a number above 0") from None
