"""All experiments: as a list, and as the table of a README."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from fedsparse.experiment.reading import read
from fedsparse.experiment.shelf import names
from fedsparse.experiment.stored import load
from fedsparse.experiment.tables import overview
from fedsparse.units import seconds_text

__all__ = ["listing", "rewritten"]

_BEGIN, _END = "<!-- results:begin -->\n", "<!-- results:end -->"


def listing(out: Path) -> Table:
    """Name, title and time of each experiment.

    Args:
        out: the folder of results; where there is none, those beside the experiments are taken.
    """
    table = Table(caption="time on one core, where it was recorded")
    for heading in ("experiment", "title", "quick", "full"):
        table.add_column(heading, justify="right" if heading in ("quick", "full") else "left")
    for name, file in names().items():
        folder = (out if out.is_dir() else file.parent / "results") / name
        known = [load(folder, variant) for variant in ("quick", "full")]
        seconds = [None if found is None else found.seconds for found in known]
        table.add_row(
            name, read(file, "full").title, *("–" if s is None else seconds_text(s) for s in seconds)
        )
    return table


def rewritten(out: Path) -> Path | None:
    """Writes the table into the README beside a folder of results; ``None`` where it has no place for it.

    The experiments are the YAML files beside that README.
    """
    file = out.parent / "README.md"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not end:
        return None
    files = sorted(out.parent.glob("*.yaml"))
    every = [(path.stem, read(path, "full"), load(out / path.stem, "full")) for path in files]
    file.write_text(f"{before}{begin}{overview(every)}\n{end}{after}", encoding="utf-8")
    return file
