"""The checkpoint format: exact round trips, and no damage that goes unnoticed."""

import errno
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedsparse import archive
from fedsparse.errors import CheckpointError, ResourceError

PREAMBLE = struct.Struct("<8sIIQ")
MAGIC = b"\x89fsckpt\n"


def example(size: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(5)
    return {"x": generator.standard_normal(size), "memory": generator.standard_normal((3, 7)).astype("f4")}


def sealed(header: bytes, data: bytes = b"", *, version: int = 1, claimed: int | None = None) -> bytes:
    """A file with a right checksum and whatever header it is given."""
    total = PREAMBLE.size + len(header) + len(data) + 32
    body = PREAMBLE.pack(MAGIC, version, len(header) if claimed is None else claimed, total) + header + data
    return body + blake2b(body, digest_size=32).digest()


def table(*rows: dict[str, Any], **extra: Any) -> bytes:
    return json.dumps({"meta": {}, "arrays": list(rows), **extra}).encode()


def row(**changes: Any) -> dict[str, Any]:
    return {"name": "x", "dtype": "<f8", "shape": [1], "offset": 0} | changes


@pytest.mark.parametrize(
    "dtype", ["f2", "f4", "f8", "?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", ">f4"]
)
def test_every_allowed_dtype_comes_back_equal(tmp_path: Path, dtype: str) -> None:
    value = np.arange(24).reshape(2, 3, 4).astype(dtype)
    archive.write(tmp_path / "c", {}, {"v": value})
    _, arrays = archive.read(tmp_path / "c")
    assert arrays["v"].dtype == np.dtype(dtype).newbyteorder("<")
    np.testing.assert_array_equal(arrays["v"], value)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1, 1, 1)])
def test_every_shape_comes_back(tmp_path: Path, shape: tuple[int, ...]) -> None:
    archive.write(tmp_path / "c", {}, {"v": np.ones(shape), "w": np.ones(1)})
    _, arrays = archive.read(tmp_path / "c")
    assert arrays["v"].shape == shape


def test_a_strided_array_is_written_in_its_logical_order(tmp_path: Path) -> None:
    value = np.arange(12.0).reshape(3, 4).T[::2]
    archive.write(tmp_path / "c", {}, {"v": value})
    np.testing.assert_array_equal(archive.read(tmp_path / "c")[1]["v"], value)


def test_meta_comes_back(tmp_path: Path) -> None:
    meta = {"round": 3, "config": {"lr": 0.1, "names": ["a", "ü"]}, "nothing": None}
    archive.write(tmp_path / "c", meta, {})
    assert archive.read(tmp_path / "c") == (meta, {})


def test_equal_contents_make_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        archive.write(tmp_path / name, {"round": 1}, example(10))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_arrays_are_aligned(tmp_path: Path) -> None:
    archive.write(tmp_path / "c", {}, {"a": np.ones(3, "u1"), "b": np.ones(3)})
    assert all(v.ctypes.data % 64 == 0 for v in archive.read(tmp_path / "c")[1].values())


def test_arrays_may_be_written_to_and_the_file_stays(tmp_path: Path) -> None:
    archive.write(tmp_path / "c", {}, {"v": np.zeros(4)})
    archive.read(tmp_path / "c")[1]["v"][:] = 7
    np.testing.assert_array_equal(archive.read(tmp_path / "c")[1]["v"], np.zeros(4))


def test_arrays_stay_valid_after_the_file_is_deleted(tmp_path: Path) -> None:
    archive.write(tmp_path / "c", {}, {"v": np.arange(9.0)})
    _, arrays = archive.read(tmp_path / "c")
    (tmp_path / "c").unlink()
    np.testing.assert_array_equal(arrays["v"], np.arange(9.0))


class Pieces:
    """A chunked array that promises ``shape`` and delivers what it is given."""

    dtype = np.dtype("f8")

    def __init__(self, shape: tuple[int, ...], pieces: list[np.ndarray]) -> None:
        self.shape = shape
        self.pieces = pieces

    def chunks(self) -> Iterator[np.ndarray]:
        yield from self.pieces


def test_pieces_make_one_array(tmp_path: Path) -> None:
    archive.write(tmp_path / "c", {}, {"v": Pieces((3, 2), [np.zeros((2, 2)), np.ones((1, 2))])})
    np.testing.assert_array_equal(archive.read(tmp_path / "c")[1]["v"], [[0, 0], [0, 0], [1, 1]])


def test_missing_pieces_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="'v' do not add up"):
        archive.write(tmp_path / "c", {}, {"v": Pieces((3, 2), [np.zeros((2, 2))])})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [np.ones(2, "c8"), np.ones(2, "g"), np.array(["a"]), np.array([None])])
def test_other_dtypes_are_refused_by_name(tmp_path: Path, value: np.ndarray) -> None:
    with pytest.raises(CheckpointError, match="array 'v' has dtype"):
        archive.write(tmp_path / "c", {}, {"v": value})


# ---- damage


def test_a_file_cut_at_any_length_is_refused_by_name(tmp_path: Path) -> None:
    whole = tmp_path / "c"
    archive.write(whole, {"round": 1}, example(20))
    data = whole.read_bytes()
    for length in range(len(data)):
        whole.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match=re.escape(str(whole))):
            archive.read(whole)


def test_every_single_bit_flip_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "c"
    archive.write(path, {"round": 1}, example(200))
    data = bytearray(path.read_bytes())
    assert 1800 < len(data) < 2400
    with path.open("r+b", buffering=0) as file:
        for position, byte in enumerate(data):
            for bit in range(8):
                os.pwrite(file.fileno(), bytes([byte ^ 1 << bit]), position)
                with pytest.raises(CheckpointError):
                    archive.read(path)
            os.pwrite(file.fileno(), bytes([byte]), position)
    archive.read(path)


def test_random_bit_flips_of_a_large_file_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "c"
    archive.write(path, {}, {"x": np.random.default_rng(1).standard_normal(200_000)})
    generator = np.random.default_rng(2)
    size = path.stat().st_size
    with path.open("r+b", buffering=0) as file:
        for position, bit in zip(
            generator.integers(size, size=100), generator.integers(8, size=100), strict=True
        ):
            byte = os.pread(file.fileno(), 1, position)
            os.pwrite(file.fileno(), bytes([byte[0] ^ 1 << int(bit)]), position)
            with pytest.raises(CheckpointError):
                archive.read(path)
            os.pwrite(file.fileno(), byte, position)


def test_a_longer_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c"
    archive.write(path, {}, example(3))
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(CheckpointError, match="cut short or damaged"):
        archive.read(path)


def test_a_foreign_file_is_recognised_by_its_first_bytes(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b"PK\x03\x04" + bytes(200))
    with pytest.raises(CheckpointError, match="starts with"):
        archive.read(tmp_path / "c")


def test_another_format_version_is_refused_with_both_numbers(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(sealed(table(), version=7))
    with pytest.raises(CheckpointError, match="version 7, this program reads version 1"):
        archive.read(tmp_path / "c")


def test_a_missing_file_is_a_checkpoint_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read: No such file"):
        archive.read(tmp_path / "c")


def test_a_folder_is_a_checkpoint_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        archive.read(tmp_path)


def test_a_header_length_beyond_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(sealed(table(), claimed=2**32 - 1))
    with pytest.raises(CheckpointError, match="header claims 4294967295 bytes"):
        archive.read(tmp_path / "c")


ABSURD = {
    "not JSON": b"{",
    "not UTF-8": b"\xff\xfe{}",
    "nested too deep": b"[" * 200_000,
    "a huge integer": b'{"meta": {}, "arrays": [' + b"9" * 10_000 + b"]}",
    "a list": b"[]",
    "no table": b'{"meta": {}}',
    "meta is a list": b'{"meta": [], "arrays": []}',
    "another field": table(more=1),
    "a row that is a number": b'{"meta": {}, "arrays": [1]}',
    "a row without a shape": b'{"meta": {}, "arrays": [{"name": "x", "dtype": "<f8", "offset": 0}]}',
    "another field in a row": table(row(more=1)),
    "2^62 elements": table(row(shape=[2**62])),
    "a product that overflows": table(row(shape=[2**40, 2**40])),
    "an overflow beside an empty axis": table(row(shape=[2**62, 2**62, 0])),
    "a thousand axes": table(row(shape=[1] * 1000)),
    "a negative size": table(row(shape=[-1])),
    "a fractional size": table(row(shape=[1.0])),
    "a boolean size": table(row(shape=[True])),
    "an object dtype": table(row(dtype="|O")),
    "an unknown dtype": table(row(dtype="tensor")),
    "a complex dtype": table(row(dtype="<c8")),
    "an offset behind": table(row(offset=64)),
    "a negative offset": table(row(offset=-8)),
    "overlapping arrays": table(row(), row(name="y", shape=[0])),
    "more than there is": table(row(shape=[2])),
    "less than there is": table(row(shape=[0])),
    "a name that comes twice": table(row(shape=[0]), row()),
}


@pytest.mark.parametrize("header", ABSURD.values(), ids=ABSURD.keys())
def test_an_absurd_header_is_refused_even_with_a_right_checksum(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "c").write_bytes(sealed(header, bytes(8)))
    with pytest.raises(CheckpointError, match="not a usable checkpoint"):
        archive.read(tmp_path / "c")


def test_the_hand_made_file_of_these_tests_is_valid_without_the_absurdity(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(sealed(table(row()), bytes(8)))
    assert archive.read(tmp_path / "c")[1]["x"] == 0.0


def test_a_file_that_shrinks_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c"
    archive.write(path, {}, {"v": np.zeros(1000)})
    real = os.fstat

    def cut(descriptor: int) -> os.stat_result:
        result = real(descriptor)
        os.truncate(path, 500)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(archive.os, "fstat", cut)
        with pytest.raises(CheckpointError, match="became shorter"):
            archive.read(path)


# ---- failures while writing


def test_a_full_disk_leaves_the_old_file_and_says_path_need_and_room(tmp_path: Path) -> None:
    script = """
import resource, sys
from pathlib import Path
import numpy as np
from fedsparse import archive
from fedsparse.errors import ResourceError
path = Path(sys.argv[1])
archive.write(path, {"round": 1}, {"v": np.zeros(100)})
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    archive.write(path, {"round": 2}, {"v": np.zeros(100_000)})
except ResourceError as error:
    print(error)
"""
    path = tmp_path / "c"
    done = subprocess.run(
        [sys.executable, "-c", script, path], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith(f"{path}: cannot write: File too large; 800")
    assert "bytes free" in done.stdout
    assert archive.read(path)[0] == {"round": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize("nth", [1, 2, 3, 4, 5, 6, 7])
def test_when_the_nth_operation_fails_the_file_is_the_old_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    path = tmp_path / "c"
    archive.write(path, {"round": 1}, {})
    calls = 0

    def failing(real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == nth:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        for owner, name in [
            (Path, "open"),
            (os, "fsync"),
            (Path, "replace"),
            (os, "open"),
            (archive._Checksummed, "write"),
        ]:
            patch.setattr(owner, name, failing(getattr(owner, name)))
        with pytest.raises(ResourceError, match="No space left on device"):
            archive.write(path, {"round": 2}, {})
    assert archive.read(path)[0]["round"] == (1 if nth <= 5 else 2)
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize("batch", range(3))
def test_a_writer_killed_at_any_instant_leaves_a_whole_file(tmp_path: Path, batch: int) -> None:
    script = """
import sys
from pathlib import Path
import numpy as np
from fedsparse import archive
path = Path(sys.argv[1])
n = 0
while True:
    n += 1
    archive.write(path, {"n": n}, {"v": np.full(20_000, float(n))})
    if n == 1:
        print(flush=True)
"""
    path = tmp_path / "c"
    delays = np.random.default_rng(batch).uniform(0, 0.02, size=5)
    for delay in delays:
        writer = subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        with writer:
            writer.stdout.readline()
            time.sleep(delay)
            writer.send_signal(signal.SIGKILL)
        meta, arrays = archive.read(path)
        assert (arrays["v"] == meta["n"]).all()


def test_arrays_under_a_prefix_are_named_by_the_rest() -> None:
    arrays = {"ledger.round": np.zeros(1), "ledger.total": np.ones(2), "now": np.ones(1)}
    assert list(archive.under("ledger.", arrays)) == ["round", "total"]
