"""What a device makes of what it is told: the other end of :class:`fedsparse.engine.downlink.Downlink`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from fedsparse.engine.block import BUFFERS
from fedsparse.engine.calls import as_array
from fedsparse.engine.downlink import WHOLE
from fedsparse.errors import DecodeError
from fedsparse.flower.letters import Stamp, Telling
from fedsparse.message import Payload
from fedsparse.protocol import State

__all__ = ["Memory", "latest", "listen", "restored"]

Hear = Callable[[State, State, Telling], State]
"""``(held, said, telling) -> held``, where all clients hold the same."""


@dataclass(frozen=True)
class Memory:
    """What a device has heard.

    Attributes:
        replicas: of values that are sent as changes, ``[1, d]`` by name.
        held: what all clients hold alike, or what this one holds.
        words: what was said in the round ``spoken`` besides, by name.
        spoken: that round.
        life: of the server that told all this.
    """

    replicas: Mapping[str, Tensor] = field(default_factory=dict)
    held: Mapping[str, Tensor] = field(default_factory=dict)
    words: Mapping[str, Tensor] = field(default_factory=dict)
    spoken: int = -1
    life: int = 0

    def arrays(self, with_words: bool) -> dict[str, np.ndarray]:
        """As arrays, for :func:`restored`; words are needed where the round goes on."""
        parts = {"replica": self.replicas, "held": self.held} | ({"word": self.words} if with_words else {})
        found = {
            f"{part}.{name}": as_array(v) for part, values in parts.items() for name, v in values.items()
        }
        return found | {"when": np.array([self.spoken, self.life], dtype=np.int64)}


def restored(arrays: Mapping[str, np.ndarray]) -> Memory:
    """What :meth:`Memory.arrays` gave."""
    parts: dict[str, dict[str, Tensor]] = {"replica": {}, "held": {}, "word": {}}
    for key, value in arrays.items():
        part, dot, name = key.partition(".")
        if dot:
            parts[part][name] = torch.from_numpy(value)
    return Memory(parts["replica"], parts["held"], parts["word"], *arrays["when"].tolist())


def listen(memory: Memory, telling: Telling, message: Mapping[str, Payload], hear: Hear | None) -> Memory:
    """What a device knows after it was told something.

    Args:
        memory: what it knew.
        telling: how it is meant.
        message: its payloads, decoded.
        hear: what clients that hold the same make of it; None where they do not.

    Raises:
        DecodeError: a change of something that this device does not have.
    """
    if telling.stamp.round > memory.spoken:
        memory = replace(memory, words={}, spoken=telling.stamp.round)
    if (
        telling.stamp.round == memory.spoken
    ):  # what is a replica from now on is no word of this round any more
        words = {name: value for name, value in memory.words.items() if name not in telling.compressed}
        memory = replace(memory, words=words)
    if telling.kind == "whole":
        others = {name: p.dense() for name, p in message.items() if not name.startswith(WHOLE)}
        memory = _made_whole(memory, message, hear is not None)
        return replace(memory, words={**memory.words, **others})
    replicas, values = dict(memory.replicas), {}
    for name, payload in message.items():
        value = payload.dense()
        if name in telling.compressed:
            known = replicas.get(name)
            if known is not None and known.shape != value.shape:
                raise DecodeError(f"{name}: {tuple(value.shape)}, its replica is {tuple(known.shape)}")
            value = replicas[name] = value if known is None else known + value
        values[name] = value
    memory = replace(memory, replicas=replicas)
    if hear is None or telling.kind == "rest":
        others = {name: value for name, value in values.items() if name not in telling.compressed}
        return replace(memory, words={**memory.words, **others})
    statistics = {BUFFERS: values.pop(BUFFERS)} if BUFFERS in values else {}
    return replace(
        memory, held=dict(hear(memory.held, values, telling)), words={**memory.words, **statistics}
    )


def _made_whole(memory: Memory, message: Mapping[str, Payload], common: bool) -> Memory:
    """All that clients hold in common, whatever this one held."""
    replicas = {n.removeprefix("replica."): p.dense() for n, p in message.items() if n.startswith("replica.")}
    held = {}
    for name, like in memory.held.items() if common else ():
        payload = message.get(f"held.{name}")
        if payload is None and name not in replicas:
            continue  # it is made anew of what is said next
        value = replicas[name] if payload is None else payload.dense()
        if value.numel() != like.numel():
            raise DecodeError(f"held.{name}: {value.numel()} numbers, expected {like.numel()}")
        held[name] = value.to(like.dtype).view_as(like)
    return replace(memory, replicas=replicas, held={**memory.held, **held})


def latest(stamps: list[Stamp], until: Stamp) -> Stamp | None:
    """The last one that is not after ``until``."""
    return max((stamp for stamp in stamps if stamp <= until), default=None)
