"""What a person sees of a run: a live line on a terminal, plain lines elsewhere, and a table at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from fedsparse.ledger import Direction, sent_bytes
from fedsparse.records import Record
from fedsparse.summary import Summary, headline
from fedsparse.units import bytes_text, number_text, seconds_text

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Progress", "final_table"]

_PLAIN_EVERY_S = 5.0
_LIVE_EVERY_S = 0.1


class _Display(Protocol):
    every_s: float

    def show(self, done: int, text: str) -> None: ...

    def note(self, text: str) -> None: ...

    def close(self) -> None: ...


class Progress:
    """Shows each round as it is done. A context manager; results never depend on it.

    Args:
        rounds: rounds of the whole run.
        stream: where to write; standard output unless given. A live display where it is a terminal.
        quiet: show nothing.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        rounds: int,
        stream: TextIO | None = None,
        quiet: bool = False,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rounds = rounds
        self._clock = clock
        self._metric = ""
        self._first: tuple[int, float] | None = None
        self._shown_at = clock()
        self._display = None if quiet else _display(rounds, stream or sys.stdout)

    def round(self, record: Record) -> None:
        """Takes in a finished round, and shows it: at once where it was evaluated or is the last one."""
        now, done = self._clock(), record.round + 1
        self._first = self._first or (done, now)
        name = headline(record.metrics)
        if name is not None:
            self._metric = f"{name} {number_text(record.metrics[name])}"
        if self._display is None:
            return
        if name is not None or done == self._rounds or now - self._shown_at >= self._display.every_s:
            self._shown_at = now
            self._display.show(done, self._describe(record, done, now))

    def note(self, text: str) -> None:
        """Shows a line of text without disturbing the display."""
        if self._display is not None:
            self._display.note(text)

    def close(self) -> None:
        """Ends the display; may be called twice."""
        if self._display is not None:
            self._display.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _describe(self, record: Record, done: int, now: float) -> str:
        parts = [
            f"round {done}/{self._rounds}",
            self._metric,
            _sent(record.up_bytes, record.down_bytes, record.traffic_total),
            f"network time {seconds_text(record.virtual_s)}" if record.virtual_s > 0 else "",
            self._pace(done, now),
        ]
        return " · ".join(part for part in parts if part)

    def _pace(self, done: int, now: float) -> str:
        # The first round is left out: it holds imports and the start of the workers.
        first_done, first_at = self._first or (done, now)
        if done <= first_done or now <= first_at:
            return ""
        rate = (done - first_done) / (now - first_at)
        left = f", {seconds_text((self._rounds - done) / rate)} left" if done < self._rounds else ""
        return f"{number_text(rate)} rounds/s{left}"


class _Plain:
    """One line each time; what a log file wants."""

    every_s = _PLAIN_EVERY_S

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, done: int, text: str) -> None:  # noqa: ARG002 - the text says it
        self.note(text)

    def note(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Nothing to end."""


class _Live:
    """A bar and a line of text that stay at the bottom of the terminal."""

    every_s = _LIVE_EVERY_S

    def __init__(self, rounds: int, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        # No refresh from a thread of its own: it would take the core from a worker.
        self._bar = Bar(
            BarColumn(bar_width=20),
            TextColumn("{task.description}", markup=False),
            console=Console(file=stream),
            auto_refresh=False,
        )
        self._task = self._bar.add_task("", total=rounds)
        self._bar.start()

    def show(self, done: int, text: str) -> None:
        self._bar.update(self._task, completed=done, description=text, refresh=True)

    def note(self, text: str) -> None:
        self._bar.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        self._bar.stop()


def _display(rounds: int, stream: TextIO) -> _Display:
    return _Live(rounds, stream) if stream.isatty() else _Plain(stream)


def final_table(summary: Summary) -> Table:
    """The result of a run: metrics, rounds, bytes and how many fewer than dense ones, times, the target."""
    from rich.table import Table

    table = Table(show_header=False)
    table.add_column("what")
    table.add_column("value", justify="right")
    for name, value in summary.final.items():
        table.add_row(name, f"{number_text(value)} (best {number_text(summary.best[name])})")
    table.add_row("rounds", str(summary.rounds))
    second: Direction = "radio" if _gossips(summary.traffic) else "down"
    words = ("bytes sent", "by radio") if second == "radio" else ("bytes up", "bytes down")
    directions: tuple[Direction, ...] = ("up", second)
    for word, direction in zip(words, directions, strict=True):
        dense = summary.traffic.get(f"{direction}_dense_bytes", 0)
        table.add_row(word, _against_dense(sent_bytes(summary.traffic, direction), dense))
    table.add_row("network time", seconds_text(summary.virtual_s))
    table.add_row("wall time", seconds_text(summary.wall_s))
    if summary.target is not None:
        table.add_row(f"{summary.metric} {number_text(summary.target)}", _reached(summary))
    return table


def _against_dense(sent: int, dense: int) -> str:
    """Bytes that were sent, and how many times fewer they are than the same values without compression."""
    ratio = dense / sent if sent else 1.0
    return (
        f"{bytes_text(sent)} ({number_text(ratio)} times less than dense)"
        if ratio > 1.01
        else bytes_text(sent)
    )


def _gossips(traffic: Mapping[str, int]) -> bool:
    """Whether a run has no server: its messages are counted by radio, too."""
    return "radio_payload_bytes" in traffic


def _sent(up: int, down: int, traffic: Mapping[str, int]) -> str:
    if _gossips(traffic):
        return f"sent {bytes_text(up)}"
    return f"up {bytes_text(up)}, down {bytes_text(down)}"


def _reached(summary: Summary) -> str:
    mark = summary.reached
    if mark is None:
        return "not reached"
    sent = _sent(mark.up_bytes, mark.down_bytes, summary.traffic)
    return f"round {mark.rounds}, {sent}, {seconds_text(mark.virtual_s)}"
