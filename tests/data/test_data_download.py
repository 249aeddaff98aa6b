"""Downloads are checked before they get their name."""

from __future__ import annotations

import gzip
import hashlib
import io

import pytest

from fedsparse.data import SETS, names
from fedsparse.data.download import download
from fedsparse.data.files import Files, Source
from fedsparse.errors import DataError

GOOD = gzip.compress(b"content", mtime=0)
URLS = ("https://one.example/a.gz", "https://two.example/a.gz")
FILES = Files("set", ("set", "."), (Source("a.gz", URLS, hashlib.sha256(GOOD).hexdigest()),))


class Web:
    """Serves bytes or errors by address, and remembers who asked."""

    def __init__(self, **by_host: bytes | Exception) -> None:
        self.by_host, self.asked = by_host, []

    def __call__(self, url: str) -> io.BytesIO:
        self.asked.append(url)
        answer = self.by_host[url.removeprefix("https://").partition(".")[0]]
        if isinstance(answer, Exception):
            raise answer
        return io.BytesIO(answer)


def test_a_file_with_the_right_sum_arrives(tmp_path) -> None:
    web = Web(one=GOOD)
    assert list(download(FILES, tmp_path, web)) == [(tmp_path / "set/a.gz", False)]
    assert (tmp_path / "set/a.gz").read_bytes() == GOOD


@pytest.mark.parametrize("bad", [b"<html>", b"", OSError("refused"), GOOD[:-1]])
def test_the_next_mirror_serves_when_the_first_fails(tmp_path, bad: bytes | Exception) -> None:
    web = Web(one=bad, two=GOOD)
    list(download(FILES, tmp_path, web))
    assert web.asked == list(URLS)
    assert (tmp_path / "set/a.gz").read_bytes() == GOOD


def test_when_all_fail_nothing_is_left_and_every_reason_is_given(tmp_path) -> None:
    with pytest.raises(DataError) as caught:
        list(download(FILES, tmp_path, Web(one=OSError("no route"), two=b"junk")))
    assert list((tmp_path / "set").iterdir()) == []
    text = str(caught.value)
    assert "no route" in text
    assert "its sha256 is" in text
    assert str(tmp_path / "set/a.gz") in text


def test_a_file_that_is_there_and_right_is_kept(tmp_path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set/a.gz").write_bytes(GOOD)
    assert list(download(FILES, tmp_path, Web())) == [(tmp_path / "set/a.gz", True)]


def test_a_damaged_file_that_is_there_is_fetched_again(tmp_path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set/a.gz").write_bytes(b"half")
    assert list(download(FILES, tmp_path, Web(one=GOOD))) == [(tmp_path / "set/a.gz", False)]


def test_plain_http_is_refused(tmp_path) -> None:
    files = Files("set", (".",), (Source("a", ("http://one.example/a",)),))
    with pytest.raises(DataError, match="not an https address"):
        list(download(files, tmp_path))


def test_a_set_without_a_public_source_says_where_it_comes_from(tmp_path) -> None:
    with pytest.raises(DataError, match=r"no public source(.|\n)*from there"):
        list(download(Files("set", (".",), origin="Get it from there."), tmp_path))


def test_every_source_is_https_and_is_summed_or_verified() -> None:
    for name in names():
        module = SETS.module(name)
        for source in getattr(module, "FILES", Files("", ())).sources:
            assert all(url.startswith("https://") for url in source.urls)
            assert len(source.sha256) == 64 or hasattr(module, "verify")
