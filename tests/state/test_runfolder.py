"""The run folder: one writer, whole lines, and nothing of anybody else's."""

import fcntl
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fedsparse import files
from fedsparse.errors import ResourceError, RunFolderError
from fedsparse.runfolder import RunFolder, default_path, read_rounds, read_summary

CONFIG = "clients: 10\n"


def made(path: Path, rounds: int = 0) -> Path:
    with RunFolder.create(path, CONFIG) as run:
        for number in range(1, rounds + 1):
            run.append({"round": number, "loss": 1 / number})
    return path


def numbers(path: Path) -> list[int]:
    return [record["round"] for record in read_rounds(path)]


def test_a_new_run_has_its_configuration(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "runs" / "a", CONFIG) as run:
        assert run.config == CONFIG
        assert (tmp_path / "runs" / "a" / "config.yaml").read_text() == CONFIG


def test_an_empty_folder_may_become_a_run(tmp_path: Path) -> None:
    made(tmp_path)
    assert read_rounds(tmp_path) == []


def test_what_a_run_killed_at_its_beginning_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("12")
    (tmp_path / "config.yaml.tmp").write_text("cli")
    made(tmp_path)


def test_a_live_run_is_refused_with_its_process(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "a", CONFIG):
        for enter in (
            lambda: RunFolder.create(tmp_path / "a", CONFIG),
            lambda: RunFolder.resume(tmp_path / "a"),
        ):
            with pytest.raises(
                RunFolderError, match=rf"another run has this folder \(process {os.getpid()}\)"
            ):
                enter()


def test_a_killed_run_leaves_no_lock(tmp_path: Path) -> None:
    script = """
import os, sys, time
from pathlib import Path
from fedsparse.runfolder import RunFolder
run = RunFolder.create(Path(sys.argv[1]), "a: 1")
run.append({"round": 1})
print(os.getpid(), flush=True)
time.sleep(60)
"""
    path = tmp_path / "a"
    other = subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE, text=True)
    with other:
        assert other.stdout is not None
        pid = other.stdout.readline().strip()
        with pytest.raises(RunFolderError, match=rf"process {pid}\)"):
            RunFolder.resume(path)
        other.send_signal(signal.SIGKILL)
    RunFolder.resume(path).close()
    assert numbers(path) == [1]


def test_an_unfinished_run_is_not_overwritten(tmp_path: Path) -> None:
    path = made(tmp_path / "a", rounds=1)
    with pytest.raises(
        RunFolderError, match=rf"holds an unfinished run already.*resume={re.escape(str(path))}"
    ):
        RunFolder.create(path, CONFIG)
    assert numbers(path) == [1]


def test_a_finished_run_is_not_overwritten(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "a", CONFIG) as run:
        assert not run.finished
        run.write_summary({"accuracy": np.float32(0.5)})
        assert run.finished
    with pytest.raises(RunFolderError, match="holds a finished run already"):
        RunFolder.create(tmp_path / "a", CONFIG)
    assert read_summary(tmp_path / "a") == {"accuracy": 0.5}


def test_a_refused_folder_can_be_resumed_at_once(tmp_path: Path) -> None:
    path = made(tmp_path / "a")
    with pytest.raises(RunFolderError):
        RunFolder.create(path, CONFIG)
    RunFolder.resume(path).close()


def test_other_peoples_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(RunFolderError, match=r"'thesis\.tex' and is no run folder"):
        RunFolder.create(tmp_path, CONFIG)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(RunFolderError, match="is a file"):
        RunFolder.create(tmp_path / "a", CONFIG)


def test_resume_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no run to resume"):
        RunFolder.resume(tmp_path)


def test_a_lock_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    path = made(tmp_path / "a")
    (path / "lock").unlink()
    (path / "lock").mkdir()
    with pytest.raises(RunFolderError, match="cannot be opened: Is a directory"):
        RunFolder.resume(path)


def test_a_file_system_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(RunFolderError, match="cannot lock files"):
        RunFolder.create(tmp_path / "a", CONFIG)


def test_a_folder_that_cannot_be_written_gives_the_lock_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        path.mkdir()
        with pytest.raises(ResourceError, match=r"config\.yaml: cannot write: No space left"):
            RunFolder.create(path, CONFIG)
    made(path)


def test_records_that_cannot_be_opened_give_the_lock_back(tmp_path: Path) -> None:
    path = made(tmp_path / "a", rounds=1)
    (path / "rounds.jsonl").rename(path / "aside")
    (path / "rounds.jsonl").mkdir()
    with pytest.raises(ResourceError, match="cannot write: Is a directory"):
        RunFolder.resume(path)
    (path / "rounds.jsonl").rmdir()
    (path / "aside").rename(path / "rounds.jsonl")
    RunFolder.resume(path).close()


def test_closing_twice_does_no_harm(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "a", CONFIG)
    run.close()
    run.close()


# ---- records


def test_a_record_is_readable_while_the_run_lives(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "a", CONFIG) as run:
        run.append({"round": 1, "bytes": np.int64(7), "who": "ü"})
        assert read_rounds(tmp_path / "a") == [{"round": 1, "bytes": 7, "who": "ü"}]


def test_what_json_cannot_say_is_refused_by_value(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "a", CONFIG) as run:
        with pytest.raises(TypeError, match="a record holds"):
            run.append({"round": 1, "x": np.zeros(2)})
        run.append({"round": 1})
    assert numbers(tmp_path / "a") == [1]


def test_a_half_last_line_is_not_read(tmp_path: Path) -> None:
    path = made(tmp_path / "a", rounds=2)
    data = (path / "rounds.jsonl").read_bytes()
    for cut in range(1, len(data.splitlines()[1]) + 1):
        (path / "rounds.jsonl").write_bytes(data[:-cut])
        assert numbers(path) == [1]


def test_resume_drops_a_half_last_line(tmp_path: Path) -> None:
    path = made(tmp_path / "a", rounds=2)
    with (path / "rounds.jsonl").open("a") as file:
        file.write('{"round": 3, "lo')
    with RunFolder.resume(path) as run:
        run.append({"round": 3})
    assert numbers(path) == [1, 2, 3]


def test_a_run_killed_before_its_first_record_has_none(tmp_path: Path) -> None:
    path = made(tmp_path / "a")
    (path / "rounds.jsonl").unlink()
    assert read_rounds(path) == []


def test_resume_works_without_records(tmp_path: Path) -> None:
    path = made(tmp_path / "a")
    (path / "rounds.jsonl").unlink()
    with RunFolder.resume(path) as run:
        run.truncate_after(0)
    assert numbers(path) == []


@pytest.mark.parametrize("last", range(6))
def test_truncation_forgets_just_the_later_rounds(tmp_path: Path, last: int) -> None:
    path = made(tmp_path / "a", rounds=5)
    with RunFolder.resume(path) as run:
        run.truncate_after(last)
        run.append({"round": last + 1})
    assert numbers(path) == list(range(1, last + 2))


@pytest.mark.parametrize("rounds", [0, 3])
def test_records_that_end_before_the_checkpoint_are_refused(tmp_path: Path, rounds: int) -> None:
    path = made(tmp_path / "a", rounds=rounds)
    with RunFolder.resume(path) as run, pytest.raises(RunFolderError, match=f"end with round {rounds}"):
        run.truncate_after(4)


@pytest.mark.parametrize(
    "damage", [b"{nonsense\n", b"\xff\n", b"[1]\n", b'{"loss": 1}\n', b'{"round": true}\n', b"\n"]
)
def test_damage_in_the_middle_is_an_error_with_the_line(tmp_path: Path, damage: bytes) -> None:
    path = made(tmp_path / "a", rounds=3)
    lines = (path / "rounds.jsonl").read_bytes().splitlines(keepends=True)
    (path / "rounds.jsonl").write_bytes(lines[0] + damage + lines[2])
    with pytest.raises(RunFolderError, match=r"rounds\.jsonl: line 2 is"):
        read_rounds(path)


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    script = """
import resource, sys
from pathlib import Path
from fedsparse.errors import ResourceError
from fedsparse.runfolder import RunFolder
run = RunFolder.create(Path(sys.argv[1]), "a: 1")
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    for number in range(1, 100):
        run.append({"round": number, "text": "x" * 100})
except ResourceError as error:
    print(error)
run.close()
"""
    path = tmp_path / "a"
    done = subprocess.run(
        [sys.executable, "-c", script, path], capture_output=True, text=True, timeout=60, check=True
    )
    assert re.match(
        r".*rounds\.jsonl: cannot write: File too large; 12\d bytes needed, \d+ bytes free", done.stdout
    )
    assert (path / "rounds.jsonl").read_bytes().endswith(b"\n")
    assert numbers(path) == list(range(1, len(numbers(path)) + 1))


def test_a_failing_sync_is_a_resource_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with RunFolder.create(tmp_path / "a", CONFIG) as run, monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        with pytest.raises(ResourceError, match="Input/output error"):
            run.sync()


def test_the_checkpoints_lie_in_the_folder(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "a", CONFIG) as run:
        run.checkpoints.save(1, {}, {"x": np.zeros(2)})
    assert (tmp_path / "a" / "checkpoint" / "round-000001.ckpt").exists()


# ---- readers and names


def test_an_unfinished_run_has_no_summary(tmp_path: Path) -> None:
    assert read_summary(made(tmp_path / "a")) is None


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_damaged_summary_is_an_error(tmp_path: Path, text: str) -> None:
    path = made(tmp_path / "a")
    (path / "summary.json").write_text(text)
    with pytest.raises(RunFolderError, match=r"summary\.json: damaged"):
        read_summary(path)


@pytest.mark.parametrize("reader", [read_rounds, read_summary])
def test_readers_refuse_what_is_no_run_folder(tmp_path: Path, reader: object) -> None:
    with pytest.raises(RunFolderError, match="not a run folder"):
        reader(tmp_path)  # type: ignore[operator]


def test_the_default_path_has_date_time_and_name(tmp_path: Path) -> None:
    path = default_path("scafcom digits/s0", tmp_path)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-\d{6}-scafcom-digits-s0", path.name)


def test_the_default_path_is_not_there_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedsparse.runfolder.time.strftime", lambda _: "2026-11-22-101112")
    for expected in ("2026-11-22-101112-a", "2026-11-22-101112-a-2", "2026-11-22-101112-a-3"):
        path = default_path("a", tmp_path)
        assert path.name == expected
        path.mkdir()


def test_room_that_cannot_be_asked_for_is_said_to_be_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files.os, "statvfs", refuse)
    error = files.no_room(tmp_path / "x", 5, OSError(28, "No space left on device"), "Buy a disk.")
    assert str(error).endswith("5 bytes needed, an unknown number of bytes free. Buy a disk.")


def test_a_run_that_was_refused_takes_its_folder_back_and_nothing_of_anybody_else(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "alone", CONFIG) as run:
        run.withdraw()
    with RunFolder.create(tmp_path / "beside", CONFIG) as run:
        (tmp_path / "beside" / "notes.txt").write_text("mine")
        run.withdraw()
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == [
        "beside",
        "beside/notes.txt",
    ]


def test_a_run_that_has_begun_is_not_taken_back(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, CONFIG) as run:
        run.append({"round": 1, "loss": 1.0})
        run.withdraw()
    assert numbers(tmp_path) == [1]
