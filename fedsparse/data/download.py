"""Fetching the published files of a data set, checked before they get their name."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.request import urlopen

from fedsparse.data.files import Files, Source
from fedsparse.errors import DataError

__all__ = ["download"]

CHUNK = 1 << 20
MOST_BYTES = 1 << 30
TIMEOUT_S = 60.0
Opener = Callable[[str], IO[bytes]]


def download(files: Files, data_dir: Path, opener: Opener | None = None) -> Iterator[tuple[Path, bool]]:
    """Fetch whatever is missing into the first folder of the set.

    Args:
        files: the files of the set.
        data_dir: the data folder; made if it does not exist.
        opener: opens an address for reading; https by default.

    Yields:
        Each file's path when it is complete, and whether it was there before.

    Raises:
        DataError: the set has no public source, or no address gave the right bytes.
    """
    if not files.sources:
        raise DataError(f"{files.name} has no public source that can be fetched. {files.origin}")
    folder = data_dir / files.folders[0]
    folder.mkdir(parents=True, exist_ok=True)
    for source in files.sources:
        path = folder / source.filename
        present = path.is_file() and _matches(path, source)
        if not present:
            _fetch(source, path, opener or _open_https)
        yield path, present


def _open_https(url: str) -> IO[bytes]:
    if not url.startswith("https://"):
        raise DataError(f"{url} is not an https address")
    response: IO[bytes] = urlopen(url, timeout=TIMEOUT_S)  # noqa: S310 - https only, see above
    return response


def _matches(path: Path, source: Source) -> bool:
    with path.open("rb") as file:
        return source.sha256 in ("", hashlib.file_digest(file, "sha256").hexdigest())


def _fetch(source: Source, path: Path, opener: Opener) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    failures = []
    try:
        for url in source.urls:
            reason = _attempt(source, url, part, opener)
            if not reason:
                part.replace(path)
                return
            failures.append(f"\n  {url}: {reason}")
    finally:
        part.unlink(missing_ok=True)
    raise DataError(
        f"{source.filename} could not be downloaded:{''.join(failures)}\n"
        f"Without internet access, fetch it elsewhere and put it at {path}"
    )


def _attempt(source: Source, url: str, part: Path, opener: Opener) -> str:
    """Copy one address to ``part``; the reason why that failed, or nothing."""
    digest, size = hashlib.sha256(), 0
    try:
        with closing(opener(url)) as response, part.open("wb") as file:
            while chunk := response.read(CHUNK):
                size += len(chunk)
                if size > MOST_BYTES:
                    return f"it sends more than {MOST_BYTES:,} bytes"
                digest.update(chunk)
                file.write(chunk)
    except (OSError, HTTPException, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    if size == 0:
        return "it sent nothing"
    if source.sha256 not in ("", digest.hexdigest()):
        return f"its sha256 is {digest.hexdigest()}, not {source.sha256}"
    return ""
