"""An attribute is computed once, and not under a lock that other objects share."""

import threading

from fedsparse.lazy import cached_property


class Slow:
    """Its value is ready when the other one's is being computed."""

    def __init__(self) -> None:
        self.calls = 0
        self.begun = threading.Event()
        self.other: Slow

    @cached_property
    def value(self) -> bool:
        """Whether the other object's value could be computed at the same time."""
        self.calls += 1
        self.begun.set()
        return self.other.begun.wait(timeout=20)


def test_two_threads_compute_attributes_of_two_objects_at_once():
    first, second = Slow(), Slow()
    first.other, second.other = second, first
    thread = threading.Thread(target=lambda: second.value)
    thread.start()
    assert first.value
    thread.join()
    assert second.value


def test_it_is_computed_once():
    alone = Slow()
    alone.other = alone
    assert alone.value
    assert alone.value
    assert alone.calls == 1


def test_it_has_the_documentation_of_its_function():
    assert "at the same time" in (Slow.value.__doc__ or "")
