"""``python -m fedsparse.report``: files, messages, and how long it takes."""

import csv
import json
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pyarrow import parquet
from report_cases import made, three

from fedsparse import report
from fedsparse.report import follow as following
from fedsparse.report.command import main
from fedsparse.report.palette import DARK, LIGHT, look
from fedsparse.report.reading import read

METHODS = {"scafcom": [0.90, 0.91, 0.92], "fed_ef": [0.91, 0.90, 0.93], "scallion": [0.50, 0.52, 0.51]}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name, ends in METHODS.items():
        three(tmp_path / "runs", name, ends, target=0.9)
    return tmp_path / "runs"


def data_of(page: str) -> dict[str, object]:
    """What the page's script draws."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_every_format_is_written(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "out"
    assert main([str(runs), "--out", str(out), "--formats", "all"]) == 0
    axes = ("up_bytes", "total_bytes", "rounds", "virtual_s", "gradient_calls")
    figures = {f"accuracy-{axis}.{suffix}" for axis in axes for suffix in ("png", "svg")}
    columns = {f"{name}.{suffix}" for name in ("runs", "rounds") for suffix in ("csv", "parquet")}
    assert {file.name for file in out.iterdir()} == {"index.html", "report.md", *columns, *figures}
    assert all(name in capsys.readouterr().out.replace("\n", " ") for name in ("index.html",))


def test_equal_runs_give_equal_files(runs: Path, tmp_path: Path):
    for out in ("a", "b"):
        assert main([str(runs), "--out", str(tmp_path / out), "--formats", "html,md,csv,svg"]) == 0
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name


def test_the_columns_have_every_run_and_every_evaluation(runs: Path, tmp_path: Path):
    assert main([str(runs), "--out", str(tmp_path / "out"), "--formats", "csv,parquet"]) == 0
    with (tmp_path / "out" / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9
    first = next(row for row in rows if row["group"] == "scafcom" and row["seed"] == "0")
    assert (first["accuracy_end"], first["up_bytes"], first["up_bytes_to_target"]) == ("0.9", "4000", "4000")
    assert {row["up_bytes_to_target"] for row in rows if row["group"] == "scallion"} == {""}
    table = parquet.read_table(tmp_path / "out" / "rounds.parquet")
    assert table.num_rows == 9 * 4
    # The first one is fed_ef with seed 0, which rises to 0.91.
    assert table.column("accuracy").to_pylist()[:2] == pytest.approx([0.364, 0.546])


def test_the_page_needs_nothing_from_elsewhere(runs: Path, tmp_path: Path):
    main([str(runs), "--out", str(tmp_path / "out")])
    page = (tmp_path / "out" / "index.html").read_text()
    assert re.findall(r"""(?:src|href)\s*=\s*["'](?!data:,)[^"']+""", page) == []
    assert set(re.findall(r"https?://[^\s\"'<]+", page)) <= {"http://www.w3.org/2000/svg"}
    assert "{{" not in page


def test_the_page_has_the_courses(runs: Path, tmp_path: Path):
    main([str(runs), "--out", str(tmp_path / "out")])
    data = data_of((tmp_path / "out" / "index.html").read_text())
    group = next(group for group in data["groups"] if group["label"] == "scafcom")
    assert group["costs"]["up_bytes"] == [1000, 2000, 3000, 4000]
    assert group["metrics"]["accuracy"]["mean"] == pytest.approx([0.364, 0.546, 0.728, 0.91])
    assert [len(seed["metrics"]["accuracy"]) for seed in group["seeds"]] == [4, 4, 4]
    assert group["needed"]["up_bytes"]["reached"] == [4000, 4000, 4000]


def test_names_are_text_wherever_they_stand(tmp_path: Path):
    evil = "<script>alert(1)</script>|"
    three(tmp_path / "runs", "a", [0.5, 0.6])
    made(tmp_path / "runs" / "x", [0.5], strategy={"name": evil, "options": {}})
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count("<script") == 2
    assert "<script" not in (tmp_path / "out" / "report.md").read_text()


def test_markdown_has_rows_of_one_length(runs: Path, tmp_path: Path):
    main([str(runs), "--out", str(tmp_path / "out")])
    text = (tmp_path / "out" / "report.md").read_text()
    for table in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1
    assert "Within 4.00 kB from clients take fed_ef" in text


def test_damaged_and_unfinished_runs_are_listed(runs: Path, tmp_path: Path):
    (runs / "scafcom-0" / "rounds.jsonl").write_text("{\n")
    (runs / "scafcom-1" / "summary.json").unlink()
    assert main([str(runs), "--out", str(tmp_path / "out")]) == 0
    said = (tmp_path / "out" / "report.md").read_text()
    assert "line 1 is damaged" in said
    assert "not finished: 4 of 4 rounds" in said


def test_one_run_is_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = made(tmp_path / "run", [0.5, 0.6])
    assert main([str(path), "--out", str(tmp_path / "out"), "--formats", "all"]) == 0
    assert "One configuration, 1 seed" in capsys.readouterr().out


def nothing(folder: Path) -> list[str]:
    return [str(folder)]


def mixed(folder: Path) -> list[str]:
    for name in ("accuracy", "distance"):
        path = made(folder / name, [0.5], metric=name)
        text = (path / "rounds.jsonl").read_text().replace('"train_loss": 1.0', '"train_loss": null')
        (path / "rounds.jsonl").write_text(text)
    return [str(folder)]


def not_evaluated(folder: Path) -> list[str]:
    return [str(made(folder / "run", [None]))]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (nothing, "there is no run to report; .* not a run folder"),
        (mixed, "no metric in common: accuracy .*, distance .*choose one with --metric"),
        (not_evaluated, "none of the 1 runs was evaluated yet"),
        (lambda folder: [], "which runs\\?"),
        (lambda folder: ["runs", "--axis", "up_byte"], "there is no such axis; did you mean 'up_bytes'"),
        (lambda folder: ["runs", "--budget", "10 apples"], "--budget 10 apples: must be an amount"),
        (lambda folder: ["runs", "--budget", "0"], "must be an amount above 0"),
        (lambda folder: ["runs", "--formats", "htm"], "did you mean 'html'"),
        (lambda folder: ["runs", "--where", "x"], "write KEY=VALUE"),
        (lambda folder: ["runs", "--every", "0"], "at least 0.1 seconds"),
        (lambda folder: ["runs", "--target", "nan"], "must be a finite number"),
        (lambda folder: ["runs", "--tarket", "1"], "unrecognized arguments"),
        (lambda folder: [str(made(folder / "r", [0.5])), "--metric", "acuracy"], "did you mean 'accuracy'"),
        (lambda folder: [str(made(folder / "r", [0.5])), "--network", "fast"], "write DOWN/UP,DELAY"),
        (
            lambda folder: [str(made(folder / "r", [0.5])), "--codec", "fp8"],
            "no such type of values; there are fp64, fp32, fp16, bf16",
        ),
    ],
)
def test_bad_input_is_answered_in_one_line(
    tmp_path: Path, arguments: Callable[[Path], list[str]], said: str, capsys: pytest.CaptureFixture[str]
):
    assert main(arguments(tmp_path)) == 2
    text = capsys.readouterr().err
    assert re.search(said, text)
    assert text.count("\n") == 1


def test_help_names_every_flag(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        report.main(["--help"])
    assert ended.value.code == 0
    assert all(flag in capsys.readouterr().out for flag in ("--follow",))


def test_following_shows_what_changed_and_ends_with_the_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "out"
    going = made(tmp_path / "runs" / "a", [0.5], finished=False, rounds=2)
    pages: list[str] = []
    read_again: list[str] = []
    monkeypatch.setattr(
        following,
        "read_run",
        lambda path, real=following.read_run: (read_again.append(path.name), real(path))[1],
    )

    def sleep(seconds: float) -> None:
        """What happens between two looks: a second run begins; then both end."""
        pages.append((out / "index.html").read_text())
        if len(pages) == 1:
            made(tmp_path / "runs" / "b", [0.6, 0.7], seed=1)
        else:
            line = (going / "rounds.jsonl").read_text()
            (going / "rounds.jsonl").write_text(line + line.replace('"round": 0', '"round": 1'))
            (going / "summary.json").write_text("{}")

    following.follow(
        report.command._asked(
            report.command._parser().parse_args([str(tmp_path / "runs"), "--follow", "--out", str(out)])
        ),
        5.0,
        sleep,
    )
    assert ['http-equiv="refresh" content="5"' in page for page in pages] == [True, True]
    assert 'http-equiv="refresh"' not in (out / "index.html").read_text()
    assert "2 of 2 runs have ended" in capsys.readouterr().out
    # The first is read when it is new and when it has changed, not in between.
    assert read_again == ["a", "b", "a"]


# ---- colours


def luminance(colour: str) -> float:
    """Relative luminance, as the Web Content Accessibility Guidelines define it."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(("colours", "paper"), [(LIGHT, "#ffffff"), (DARK, "#181c22")], ids=["light", "dark"])
def test_colours_stand_out_from_the_paper(colours: tuple[str, ...], paper: str):
    for colour in colours:
        lighter, darker = sorted((luminance(colour), luminance(paper)), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 3, colour


def test_no_two_methods_look_alike_without_their_colour():
    assert len({(look(n).dash, look(n).marker) for n in range(35)}) == 35
    assert len({look(n) for n in range(280)}) == 280


# ---- time


@pytest.mark.slow
def test_ten_runs_take_less_than_two_seconds(tmp_path: Path):
    for name, ends in METHODS.items():
        three(tmp_path / "runs", name, ends)
    made(tmp_path / "runs" / "tenth", [0.5] * 200)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "fedsparse.report", "runs"], cwd=tmp_path, check=True, capture_output=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Processor time: what the machine does besides must not count.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2


@pytest.mark.slow
def test_runs_of_a_thousand_rounds_are_read_in_six_milliseconds_each(tmp_path: Path):
    path = made(tmp_path / "run", [0.5 if n % 50 == 49 else None for n in range(1000)])
    start = time.process_time()
    runs, _ = read([path] * 100)
    assert len(runs) == 100
    # Ten thousand in less than a minute.
    assert time.process_time() - start < 0.6
