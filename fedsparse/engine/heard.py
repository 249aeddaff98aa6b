"""What was said in the phases of a round so far, for strategies that keep nothing of it from round to round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from fedsparse.engine.slab import Ids
from fedsparse.engine.traffic import Cost

__all__ = ["Heard", "Word"]


@dataclass(frozen=True)
class Word:
    """One named value of a broadcast.

    Attributes:
        value: what is decoded, ``[1, ...]`` for all of the audience, or ``[A, ...]``.
        payload: its bytes, ``[1]`` or ``[A]``; 0 where whoever missed it is brought up to date in another way.
        header: likewise bytes of its name and length in a message.
        dense: bytes of the value without compression.
    """

    value: Tensor
    payload: Ids
    header: Ids
    dense: int


@dataclass
class _Spoken:
    word: Word
    ids: Ids
    width: int
    known: set[int] = field(default_factory=set)


class Heard:
    """The values of a round's phases, by name; a later one of the same name replaces the earlier.

    A client has a value if it was in the audience, which is so if that was at least as wide as the present one. If the
    message to it was lost, it gets the value in the next message that is sent to it, and that is charged.
    """

    def __init__(self) -> None:
        self._spoken: dict[str, _Spoken] = {}

    def say(self, words: Mapping[str, Word], ids: Ids, width: int) -> None:
        """A broadcast to ``ids [A]``, an audience of rank ``width``."""
        for name, word in words.items():
            self._spoken[name] = _Spoken(word, ids, width)

    def send(self, names: frozenset[str], ids: Ids, width: int, arrived: np.ndarray) -> Cost:
        """What is sent of earlier phases' values along with the present one's.

        Args:
            names: what is said in the present phase, and charged by itself.
            ids: the present audience, ``[A]``.
            width: its rank.
            arrived: whom the message reaches, ``[A]`` bool.

        Returns:
            its bytes in the same envelope, ``[A]``.
        """
        cost = Cost.of_nothing(len(ids))
        for name, spoken in self._audible(width).items():
            if name not in names:
                missing = np.array([i not in spoken.known for i in ids.tolist()], dtype=bool)
                word = spoken.word
                cost += Cost(
                    missing * _rows(word.payload, spoken.ids, ids),
                    missing * _rows(word.header, spoken.ids, ids),
                    missing * word.dense,
                )
            spoken.known.update(ids[arrived].tolist())
        return cost

    def forget(self, ids: Ids) -> None:
        """Nobody knows whether these clients heard anything in this round: it is sent to them again."""
        for spoken in self._spoken.values():
            spoken.known.difference_update(ids.tolist())

    def values(self, ids: Ids, width: int) -> dict[str, Tensor]:
        """Everything that an audience has heard: ``[1, ...]`` or ``[A, ...]`` by name."""
        found = {}
        for name, spoken in self._audible(width).items():
            value = spoken.word.value
            at = torch.from_numpy(np.searchsorted(spoken.ids, ids))
            found[name] = value if len(value) == 1 or len(spoken.ids) == len(ids) else value[at]
        return found

    def _audible(self, width: int) -> dict[str, _Spoken]:
        return {name: spoken for name, spoken in self._spoken.items() if spoken.width >= width}


def _rows(values: Ids, have: Ids, ids: Ids) -> Ids:
    return values if len(values) == 1 else values[np.searchsorted(have, ids)]
