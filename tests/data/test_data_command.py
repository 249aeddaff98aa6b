"""python -m fedsparse.data."""

from __future__ import annotations

import pytest

from fedsparse.data.__main__ import main


def test_the_list_has_every_set_and_where_it_is(tmp_path, capsys, tiny_mnist) -> None:
    tiny_mnist(tmp_path / "mnist")
    assert main([f"data_dir={tmp_path}"]) == 0
    text = capsys.readouterr().out
    assert f"in {tmp_path / 'mnist'}" in text
    assert f"not found ({tmp_path / 'wisdm'})" in text
    assert "needs no files" in text


def test_a_partition_is_summed_up_and_drawn(tmp_path, capsys) -> None:
    plot = tmp_path / "out.png"
    words = ["digits", "partition=dirichlet", "clients=20", "partition.alpha=0.1", f"plot={plot}"]
    assert main(words) == 0
    assert "left out" in capsys.readouterr().out
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_options_of_the_set_reach_it(capsys) -> None:
    assert main(["logistic", "partition=natural", "data.clients=7"]) == 0
    assert "clients" in capsys.readouterr().out


def test_a_set_without_files_says_so(capsys) -> None:
    assert main(["digits"]) == 0
    assert "needs no files" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["digitz"], 2, "Did you mean 'digits'?"),
        (["digits", "oops"], 2, "'oops' is not understood"),
        (["digits", "clients=3"], 2, "only used with partition=NAME"),
        (["digits", "partition=iid", "clients=two"], 2, "clients='two'"),
        (["digits", "partition=iid", "clients=5000"], 3, "at most 1,437 clients"),
        (["mnist", "partition=iid", "clients=5"], 3, "no data folder is set"),
        (["mnist"], 2, "data_dir=FOLDER"),
        (["wisdm", "data_dir=/tmp"], 3, "no public source"),
    ],
)
def test_errors_are_one_message_and_a_status(capsys, words: list[str], status: int, said: str) -> None:
    assert main(words) == status
    assert said in capsys.readouterr().err
