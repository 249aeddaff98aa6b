"""What the commands have in common: how an error becomes one line and an exit status."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

from fedsparse.errors import FedSparseError

__all__ = ["BROKEN_PIPE", "BUG", "INTERRUPTED", "concluded", "one_thread", "report", "said"]

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""

BROKEN_PIPE = 141
"""Exit status where the output could not be written to its end, as shells have it."""

BUG = 1
"""Exit status of an error that nobody foresaw."""


def concluded(act: Callable[[], int], *, verbose: bool, only_shows: bool) -> int:
    """The exit status of a command, whatever happens in it.

    Args:
        act: does what is asked and gives a status.
        verbose: show the traceback of an error.
        only_shows: what it does is to print something, and whoever reads it may stop early.
    """
    try:
        status = act()
        sys.stdout.flush()  # a broken pipe is to be known before the interpreter ends
    except BrokenPipeError:
        # The interpreter's own flush must not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if only_shows:
            return 0  # whoever read the output has seen enough, as in "--help | head"
        said("nobody reads the output any more; the run is not finished")
        return BROKEN_PIPE
    except Exception as error:  # noqa: BLE001 - the last line of defence
        return report(error, verbose)
    except KeyboardInterrupt:
        said("interrupted")
        return INTERRUPTED
    return status


def report(error: Exception, verbose: bool) -> int:
    """Prints an error, on one line where it is one of ours; gives its exit status."""
    if verbose or not isinstance(error, FedSparseError):
        traceback.print_exception(error)
    if not isinstance(error, FedSparseError):
        said("this is a bug, in fedsparse or in a plug-in; the traceback is above")
        return BUG
    said(" ".join(str(error).split()))
    return error.exit_status


def said(text: str) -> None:
    """Prints a line about the command itself."""
    sys.stderr.write(f"fedsparse: {text}\n")


def one_thread() -> None:
    """One thread for each block of clients; call it before torch and NumPy are imported."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
