"""Reading: quick and careful come to the same, and what is damaged is said."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from report_cases import CONFIG, DOWN, UP, made

from fedsparse.errors import RunFolderError
from fedsparse.report.reading import folders, read, read_run


def test_costs_are_those_since_the_start_at_the_evaluated_rounds(tmp_path: Path):
    course = read_run(made(tmp_path / "run", [None, 0.5, None, 0.7])).course
    assert course.metrics["accuracy"].tolist() == [0.5, 0.7]
    assert {name: values.tolist() for name, values in course.costs.items()} == {
        "rounds": [2, 4],
        "up_bytes": [2 * UP, 4 * UP],
        "total_bytes": [2 * (UP + DOWN), 4 * (UP + DOWN)],
        "virtual_s": [4, 8],
        "gradient_calls": [100, 200],
    }


def test_records_in_another_form_of_json_give_the_same(tmp_path: Path):
    path = made(tmp_path / "run", [None, 0.5, None, 0.7])
    quick = read_run(path)
    lines = (path / "rounds.jsonl").read_text().splitlines()
    spaced = [
        json.dumps(dict(reversed(json.loads(line).items())), separators=(" , ", " : ")) for line in lines
    ]
    (path / "rounds.jsonl").write_text("\n".join(spaced) + "\n")
    careful = read_run(path)
    assert careful.rounds == quick.rounds == 4
    for name, values in quick.course.costs.items():
        assert np.array_equal(careful.course.costs[name], values)
    assert np.array_equal(careful.course.metric("accuracy"), quick.course.metric("accuracy"))


def test_null_is_nan(tmp_path: Path):
    course = read_run(made(tmp_path / "run", [0.5, float("nan")])).course
    assert np.isnan(course.end("accuracy"))
    assert course.best("accuracy") == 0.5


def test_bytes_on_the_air_are_an_axis_where_they_are_counted(tmp_path: Path):
    path = made(tmp_path / "run", [0.5])
    line = json.loads((path / "rounds.jsonl").read_text())
    line["traffic_total"] |= {"radio_payload_bytes": 30, "radio_header_bytes": 4}
    (path / "rounds.jsonl").write_text(json.dumps(line) + "\n")
    assert read_run(path).course.cost("radio_bytes").tolist() == [34]


def test_a_killed_run_is_read_up_to_its_last_whole_line(tmp_path: Path):
    path = made(tmp_path / "run", [0.5, 0.6], finished=False)
    with (path / "rounds.jsonl").open("a") as file:
        file.write('{"round": 2, "virt')
    run = read_run(path)
    assert (run.rounds, run.finished) == (2, False)


def test_a_run_that_has_just_begun_has_no_course(tmp_path: Path):
    assert len(read_run(made(tmp_path / "run", [], finished=False)).course) == 0


def damaged_line(path: Path) -> None:
    lines = (path / "rounds.jsonl").read_text().splitlines()
    lines[1] = lines[1][:40]
    (path / "rounds.jsonl").write_text("\n".join(lines) + "\n")


def a_lost_line(path: Path) -> None:
    lines = (path / "rounds.jsonl").read_text().splitlines()
    (path / "rounds.jsonl").write_text("\n".join(lines[1:]) + "\n")


def fewer_rounds(path: Path) -> None:
    lines = (path / "rounds.jsonl").read_text().splitlines()
    (path / "rounds.jsonl").write_text("\n".join(lines[:2]) + "\n")


def no_yaml(path: Path) -> None:
    (path / "config.yaml").write_text("strategy: [\n")


def a_list(path: Path) -> None:
    (path / "config.yaml").write_text("- 1\n")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (damaged_line, "line 2 is damaged"),
        (a_lost_line, "line 1 of rounds.jsonl is not round 0"),
        (fewer_rounds, "has 2 of its 3 rounds"),
        (no_yaml, "config.yaml is damaged"),
        (a_list, "no mapping"),
    ],
)
def test_damage_is_said_and_the_others_are_read(tmp_path: Path, damage, said: str):
    good, bad = made(tmp_path / "good", [0.5, 0.6, 0.7]), made(tmp_path / "bad", [0.5, 0.6, 0.7])
    damage(bad)
    runs, unread = read([good, bad, tmp_path / "missing"])
    assert [run.path for run in runs] == [good]
    assert said in unread[0].reason
    assert unread[1].reason == "not a run folder (no config.yaml)"


def test_the_sections_of_a_configuration_are_those_of_yaml(tmp_path: Path):
    grid = [0.1, 0.2]
    path = made(tmp_path / "run", [0.5], tuning={"grid": {"strategy.lr": grid}, "seeds": [0]}, target=grid)
    text = (path / "config.yaml").read_text()
    assert "&id001" in text  # an alias of another section
    run = read_run(path)
    assert run.tuning == yaml.safe_load(text)["tuning"]
    assert run.config["target"] == grid
    assert run.config["strategy.lr"] == 0.1
    assert run.versions == CONFIG["versions"]


def test_folders_of_runs_are_looked_through_and_of_tunings_the_chosen_ones_count(tmp_path: Path):
    wanted = [made(tmp_path / "a" / "r1", [0.5]), made(tmp_path / "a" / "tuned" / "report" / "r2", [0.5])]
    made(tmp_path / "a" / "tuned" / "trials" / "t1", [0.5])
    (tmp_path / "a" / "tuned" / "tuned.json").write_text("{}")
    assert sorted(folders([tmp_path / "a"])) == wanted
    assert list(folders([tmp_path / "a" / "tuned"])) == wanted[1:]


def test_a_run_that_is_no_run_raises(tmp_path: Path):
    with pytest.raises(RunFolderError, match="not a run folder"):
        read_run(tmp_path)
