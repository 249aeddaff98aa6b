"""Where the slabs lie, and who cleans up after the dead."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fedsparse.engine import place
from fedsparse.engine.slab import StateSpec
from fedsparse.errors import ResourceError
from fedsparse.process import alive, namespace, start_time

GIB = 1 << 30


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Shared memory with 8 GiB free of 12 GiB available memory; returns the folder of the run."""
    (tmp_path / "shm").mkdir()
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(place, "_SHARED_MEMORY", tmp_path / "shm")
    monkeypatch.setattr(place, "free_bytes", lambda _: 8 * GIB)
    monkeypatch.setattr(place, "_available_memory", lambda: 12 * GIB)
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("expected", "chosen"),
    [(0, "shm"), (5 * GIB, "shm"), (5.4 * GIB, "run"), (100 * GIB, "run")],
)
def test_shared_memory_is_used_while_half_again_as_much_is_free(
    machine: Path, expected: int, chosen: str
) -> None:
    assert place.choose_folder(None, expected, machine).parent.name == chosen


def test_shared_memory_is_not_used_for_half_of_the_available_memory(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "_available_memory", lambda: 4 * GIB)
    assert place.choose_folder(None, 2 * GIB, machine).parent == machine


def test_without_shared_memory_the_run_folder_is_used(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "_SHARED_MEMORY", machine / "nothing")
    assert place.choose_folder(None, 1, machine).parent == machine


def test_a_requested_folder_is_used_and_made(machine: Path) -> None:
    assert place.choose_folder(machine / "a" / "b", 1, machine).parent == machine / "a" / "b"


def test_two_stores_of_one_process_get_two_private_folders(machine: Path) -> None:
    one, two = (place.choose_folder(None, 1, machine) for _ in range(2))
    assert one != two
    assert one.stat().st_mode & 0o077 == 0


def test_a_folder_that_cannot_be_made_names_the_option(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(place.tempfile, "mkdtemp", refuse)
    with pytest.raises(ResourceError, match=r"Permission denied.* engine\.state_dir"):
        place.choose_folder(None, 1, machine)


def test_the_folder_of_a_dead_process_is_removed_and_that_of_a_live_one_stays(machine: Path) -> None:
    script = """
import sys
from pathlib import Path
from fedsparse.engine import place
folder = place.choose_folder(Path(sys.argv[1]), 1, Path(sys.argv[1]))
(folder / "c.slab").write_text("x")
"""
    subprocess.run([sys.executable, "-c", script, machine], timeout=60, check=True)
    (dead,) = machine.iterdir()
    mine = place.choose_folder(None, 1, machine)
    again = place.choose_folder(None, 1, machine)
    assert not dead.exists()
    assert mine.exists()
    assert again.exists()


def test_a_reused_process_id_is_not_taken_for_the_old_process(tmp_path: Path) -> None:
    stale = tmp_path / f"fedsparse-state-{namespace()}-{os.getpid()}-1-abc"
    stale.mkdir()
    place.remove_stale(tmp_path)
    assert not stale.exists()


@pytest.mark.parametrize("name", ["fedsparse-state-0-999999999-1-abc", "fedsparse-state-mine", "other"])
def test_folders_that_cannot_be_judged_stay(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    place.remove_stale(tmp_path)
    assert (tmp_path / name).exists()


def test_expected_bytes_count_each_client_once_and_the_fresh_rows() -> None:
    specs = [StateSpec("c", (10,), "float32"), StateSpec("n", (), "int64")]
    assert place.expected_bytes(specs, population=1000, cohort=5, rounds=20) == (100 + 10) * 48
    assert place.expected_bytes(specs, population=50, cohort=5, rounds=20) == (50 + 10) * 48


def test_available_memory_is_read_from_the_machine() -> None:
    assert 0 < place._available_memory() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_available_memory_without_meminfos_line_is_the_free_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "MemTotal: 1 kB\n")
    assert place._available_memory() > 0


def test_this_process_is_alive() -> None:
    start = start_time(os.getpid())
    assert start is not None
    assert alive(os.getpid(), start)


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    with child:
        assert child.stdout is not None
        child.stdout.read()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert start_time(child.pid) is None


def test_no_process_has_no_start_time() -> None:
    assert start_time(2**31 - 1) is None
