"""One signal stops what is going on, and what it is part of."""

from __future__ import annotations

import os
import signal

from fedsparse.interrupts import Interrupts


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def unexpected() -> None:
    raise AssertionError("the process was to end at once")


def test_what_is_asked_inside_is_asked_outside_too() -> None:
    with Interrupts(unexpected) as outer:
        with Interrupts(unexpected) as inner:
            interrupt()
        assert inner.asked == outer.asked == signal.SIGINT


def test_what_was_asked_before_is_known_inside() -> None:
    with Interrupts(unexpected):
        interrupt()
        with Interrupts(unexpected) as inner:
            assert inner.asked == signal.SIGINT


def test_without_a_signal_nothing_is_asked_and_handlers_are_given_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupts(unexpected) as outer, Interrupts(unexpected) as inner:
        pass
    assert (outer.asked, inner.asked, signal.getsignal(signal.SIGINT)) == (None, None, before)
