"""Helpful one-line texts: what exists, and what was probably meant."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

__all__ = ["listed", "nearest", "there_are"]


def listed(words: Collection[str]) -> str:
    """The words with commas; ``none`` where there are none."""
    return ", ".join(words) or "none"


def nearest(word: str, words: Collection[str]) -> str | None:
    """The word that was probably meant, ``None`` where none is near."""
    near = get_close_matches(word.lower(), words, n=1)
    return near[0] if near else None


def there_are(word: str, words: Collection[str], lead: str = "there are") -> str:
    """The end of a message: ``; did you mean 'x'? There are x, y``, or ``; there are x, y``."""
    near = nearest(word, words)
    known = f"{lead} {listed(words)}"
    return f"; did you mean '{near}'? {known[0].upper()}{known[1:]}" if near else f"; {known}"
