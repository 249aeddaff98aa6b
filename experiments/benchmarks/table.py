"""Tables of the comparison: what was measured, as text."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from experiments.benchmarks.measure import Measured
from experiments.benchmarks.workloads import PROGRAMS, Entry, Workload

__all__ = ["LEGEND", "Row", "table"]

LEGEND = """\
Medians over the repetitions.
round   median of the timed rounds            first  the first round: compilation, lazy imports, start of workers
start   from the command to the first round   CPU    CPU seconds of a round, whole process tree
cores   CPU over wall time of the rounds: how many cores the program really had
PSS     most memory in the rounds, whole tree, shared memory counted once
up      what the clients of a round send, where the program counts it
x NAME  the time of NAME over that of the program, in the same repetition: above 1 is faster than NAME
peak    share of the rate that the matrix product reaches on as many threads
norm    relative difference to the plain loop of the norm of all rounds' change of the model
model   relative norm of the difference of these changes"""


@dataclass
class Row:
    """A line of a table.

    Attributes:
        entry: what ran.
        runs: one for each repetition, None where it failed.
        norm: relative difference of the norm of the model's change to the plain loop's.
        model: relative difference of the change itself.
        problem: why there is nothing, or not everything.
    """

    entry: Entry
    runs: list[Measured | None] = field(default_factory=list)
    norm: float | None = None
    model: float | None = None
    problem: str = ""

    def median(self, of: Callable[[Measured], float]) -> float | None:
        """Median over the repetitions that went well."""
        values = [of(run) for run in self.runs if run]
        return statistics.median(values) if values else None

    def speed_up(self, other: Row) -> float | None:
        """How many times faster than ``other``, in the median over repetitions that both have."""
        both = zip(self.runs, other.runs, strict=False)
        ratios = [theirs.round_s / ours.round_s for ours, theirs in both if ours and theirs]
        return statistics.median(ratios) if ratios else None

    def share(self, flop: float, peaks: Sequence[tuple[float, float]]) -> float | None:
        """Share of the peak rates (GFLOP/s on one and on two threads, for each repetition) that it reaches."""
        threads = PROGRAMS[self.entry.name].threads
        both = zip(self.runs, peaks, strict=False)
        shares = [flop / run.round_s / 1e9 / peak[threads - 1] for run, peak in both if run]
        return statistics.median(shares) if shares else None


def table(workload: Workload, rows: Sequence[Row], peaks: Sequence[tuple[float, float]]) -> str:
    """All rows, and a line for each that has a problem."""
    by_key = {row.entry.key: row for row in rows}
    against = [by_key[key] for key in (rows[0].entry.key, *workload.against) if key in by_key]
    columns: list[tuple[str, Callable[[Row], str]]] = [
        ("program", lambda row: row.entry.title),
        ("round s", lambda row: _number(row.median(lambda run: run.round_s), ".4f")),
        ("first s", lambda row: _number(row.median(lambda run: run.first_s), ".2f")),
        ("start s", lambda row: _number(row.median(lambda run: run.start_s), ".2f")),
        ("CPU s", lambda row: _number(row.median(lambda run: run.cpu_s), ".4f")),
        ("cores", lambda row: _number(row.median(lambda run: run.cores), ".2f")),
        ("PSS MB", lambda row: _number(row.median(lambda run: run.pss / 1e6), ".0f")),
        ("up MB", lambda row: _number(row.median(lambda run: (run.up_bytes or 0) / 1e6) or None, ".3g")),
        *((f"x {other.entry.label}", _speed_up(other)) for other in against),
        ("peak", lambda row: _number(row.share(workload.flop, peaks), ".0%")),
        ("norm", lambda row: _number(row.norm, ".1e")),
        ("model", lambda row: _number(row.model, ".1e")),
    ]
    cells = [[head for head, _ in columns]] + [[show(row) for _, show in columns] for row in rows]
    lines = [f"{workload.name}: {workload.title}; {workload.cohort} clients a round"]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        first, *rest = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        lines.append("  ".join([first.strip().ljust(widths[0]), *rest]))
    lines += [f"{row.entry.title}: {row.problem}" for row in rows if row.problem]
    return "\n".join(lines)


def _speed_up(other: Row) -> Callable[[Row], str]:
    return lambda row: _number(row.speed_up(other), ".2f")


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
