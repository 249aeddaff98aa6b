"""From what is asked to the files of a report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fedsparse.files import make_folder, replacing
from fedsparse.report.asked import Asked
from fedsparse.report.comparison import Comparison, compare
from fedsparse.report.course import Run, Unread
from fedsparse.report.reading import folders, read

__all__ = ["compared", "put_together", "write"]


def compared(asked: Asked) -> Comparison:
    """The comparison of the runs in the folders.

    Raises:
        ConfigError: there is nothing to compare, or what is asked for makes no sense.
    """
    return put_together(*read(folders(asked.paths)), asked)


def put_together(runs: list[Run], unread: list[Unread], asked: Asked) -> Comparison:
    """The comparison of these runs, priced anew where that is asked for."""
    notes: list[str] = []
    if asked.codec is not None or asked.network is not None:
        from fedsparse.report.whatif import priced_anew

        runs, refused, notes = priced_anew(runs, asked.network, asked.codec)
        unread = [*unread, *refused]
    return compare(runs, unread, asked, notes)


def write(c: Comparison, asked: Asked, *, refresh_s: int | None = None) -> list[Path]:
    """Writes the files that are asked for; each appears whole.

    Args:
        c: what they show.
        asked: the folder and the formats.
        refresh_s: seconds after which the page reads itself again.

    Raises:
        ResourceError: one could not be written.
    """
    if asked.formats:
        make_folder(asked.out)
    return [file for name in asked.formats for file in _written(c, name, asked.out, refresh_s)]


def _written(c: Comparison, name: str, folder: Path, refresh_s: int | None) -> Iterator[Path]:
    if name == "html":
        from fedsparse.report.page import page

        yield _text(folder / "index.html", page(c, refresh_s=refresh_s))
    elif name == "md":
        from fedsparse.report.markdown import markdown

        yield _text(folder / "report.md", markdown(c))
    elif name in {"csv", "parquet"}:
        yield from _columns(c, name, folder)
    else:
        from fedsparse.report.figures import figures, save

        for title, figure in figures(c):
            path = folder / f"{title}.{name}"
            save(figure, path)
            yield path


def _columns(c: Comparison, suffix: str, folder: Path) -> Iterator[Path]:
    from fedsparse.report.columns import courses, csv_text, runs, write_parquet

    for title, columns in (("runs", runs(c)), ("rounds", courses(c))):
        path = folder / f"{title}.{suffix}"
        if suffix == "csv":
            _text(path, csv_text(columns))
        else:
            write_parquet(columns, path)
        yield path


def _text(path: Path, text: str) -> Path:
    data = text.encode()
    with replacing(path, len(data)) as file:
        file.write(data)
    return path
