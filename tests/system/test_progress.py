import io
import subprocess
import sys

import pytest
from rich.console import Console

from fedsparse.progress import Progress, final_table
from fedsparse.records import Record
from fedsparse.summary import summarise

TRAFFIC = {"up_payload_bytes": 1_000_000, "down_payload_bytes": 2_000_000, "up_dense_bytes": 30_000_000}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock():
    return Clock()


def record(round_: int, **values) -> Record:
    return Record(round=round_, virtual_s=90.0, cohort=2, accepted=2, traffic_total=TRAFFIC, **values)


def test_a_plain_line_has_round_metric_bytes_and_time(clock):
    stream = io.StringIO()
    Progress(10, stream, clock=clock).round(record(0, metrics={"accuracy": 0.5}))
    assert stream.getvalue() == (
        "round 1/10 · accuracy 0.5 · up 1.00 MB, down 2.00 MB · network time 1 min 30 s\n"
    )


def test_plain_lines_come_at_evaluations_after_seconds_and_at_the_end(clock):
    stream = io.StringIO()
    progress = Progress(6, stream, clock=clock)
    for round_, (seconds, metrics) in enumerate(
        [(0.0, {}), (1.0, {"loss": 0.5}), (2.0, {}), (7.0, {}), (8.0, {}), (9.0, {})]
    ):
        clock.now = seconds
        progress.round(record(round_, metrics=metrics))
    assert [line.split(" ")[1] for line in stream.getvalue().splitlines()] == ["2/6", "4/6", "6/6"]


def test_rate_and_time_left_do_not_count_the_first_round(clock):
    stream = io.StringIO()
    progress = Progress(10, stream, clock=clock)
    clock.now = 100.0
    progress.round(record(0))
    clock.now = 102.0
    progress.round(record(4, metrics={"loss": 1.0}))
    assert stream.getvalue().endswith("2 rounds/s, 2.50 s left\n")


def test_a_resumed_run_has_the_rate_of_its_own_rounds(clock):
    stream = io.StringIO()
    progress = Progress(100, stream, clock=clock)
    progress.round(record(89))
    clock.now = 1.0
    progress.round(record(90, metrics={"loss": 1.0}))
    assert "1 rounds/s, 9.00 s left" in stream.getvalue()


def test_the_last_metric_stays_until_the_next_one(clock):
    stream = io.StringIO()
    progress = Progress(2, stream, clock=clock)
    progress.round(record(0, metrics={"accuracy": 0.5}))
    progress.round(record(1))
    assert "accuracy 0.5" in stream.getvalue().splitlines()[1]


def test_a_note_is_a_line():
    stream = io.StringIO()
    Progress(2, stream).note("worker 3 was replaced [1 of 3]")
    assert stream.getvalue() == "worker 3 was replaced [1 of 3]\n"


def test_quiet_shows_nothing(capsys):
    with Progress(1, quiet=True) as progress:
        progress.note("worker 3 was replaced")
        progress.round(record(0, metrics={"accuracy": 0.5}))
    assert capsys.readouterr() == ("", "")


def test_standard_output_is_the_default(capsys):
    with Progress(1) as progress:
        progress.round(record(0))
    assert capsys.readouterr().out.startswith("round 1/1")


def test_a_terminal_gets_a_bar_with_the_same_text(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with Progress(2, stream, clock=clock) as progress:
        progress.note("a note in [brackets]")
        progress.round(record(1, metrics={"accuracy": 0.5}))
    assert "━" in stream.getvalue()
    assert "round 2/2 · accuracy 0.5 · up 1.00 MB, down 2.00 MB" in stream.getvalue()
    assert "a note in [brackets]" in stream.getvalue()


def test_the_display_ends_when_the_run_fails(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with pytest.raises(KeyError), Progress(2, stream):
        raise KeyError
    assert stream.getvalue().endswith("\x1b[?25h")  # the cursor is shown again


def test_a_run_without_a_terminal_does_not_import_rich():
    code = "import sys, fedsparse.progress as p; p.Progress(1).note('x'); sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def shown(**settings) -> str:
    stream = io.StringIO()
    records = [record(0, metrics={"accuracy": 0.5}), record(1, metrics={"accuracy": 0.4})]
    Console(file=stream, width=100).print(final_table(summarise(records, **settings)))
    return stream.getvalue()


@pytest.mark.parametrize(
    "part", ["0.4 (best 0.5)", "1.00 MB", "2.00 MB", "1.00 MB (30 times less than dense)", "1 min 30 s"]
)
def test_the_final_table_has_metrics_bytes_ratio_and_time(part):
    assert part in shown()


def test_the_final_table_says_what_the_target_took():
    assert "round 1, up 1.00 MB, down 2.00 MB, 1 min 30 s" in shown(target=0.5)


def test_the_final_table_says_that_the_target_was_not_reached():
    assert "not reached" in shown(target=0.9)


def test_a_run_without_a_server_says_what_was_sent_along_links_and_by_radio() -> None:
    traffic = {
        "up_payload_bytes": 4000,
        "up_dense_bytes": 8000,
        "radio_payload_bytes": 1000,
        "radio_dense_bytes": 2000,
    }
    record = Record(
        round=0, virtual_s=1.0, cohort=2, accepted=2, traffic_total=traffic, metrics={"accuracy": 0.5}
    )
    table = final_table(summarise([record], target=0.5))
    rows = dict(zip(*(list(column.cells) for column in table.columns), strict=True))
    assert rows["bytes sent"] == "4.00 kB (2 times less than dense)"
    assert rows["by radio"] == "1.00 kB (2 times less than dense)"
    assert rows["accuracy 0.5"] == "round 1, sent 4.00 kB, 1.00 s"
    assert "bytes down" not in rows
