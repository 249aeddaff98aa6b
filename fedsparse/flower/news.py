"""The broadcasts that changed what clients hold in common, for as long as hearing them costs less than all of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from fedsparse.flower.letters import Stamp, Telling

__all__ = ["Item", "News"]


@dataclass(frozen=True)
class Item:
    """One broadcast: what a device that missed it is told, and the bytes of that."""

    telling: Telling
    nbytes: int


class News:
    """The latest broadcasts, and up to which of them each device has heard."""

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._nbytes = 0  # of all of them
        self._forgotten = 0  # how many there were before these
        self._heard: dict[int, int] = {}

    def add(self, item: Item, whole: int) -> None:
        """One more; those are forgotten with which all of it would be more bytes than ``whole``."""
        self._items.append(item)
        self._nbytes += item.nbytes
        while self._nbytes > whole and len(self._items) > 1:
            self._nbytes -= self._items[0].nbytes
            del self._items[0]
            self._forgotten += 1

    def missed(self, client: int) -> list[Item] | None:
        """What a device has not heard yet, the newest last; None where it is to get all that is held instead."""
        since = self._heard.get(client, -1) - self._forgotten
        return self._items[since:] if since >= 0 else None

    def heard(self, client: int) -> None:
        """It has heard everything."""
        self._heard[client] = self._forgotten + len(self._items)

    def forget(self, client: int) -> None:
        """Nobody knows what it has heard."""
        self._heard.pop(client, None)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything, for a checkpoint."""
        heads = [
            {**asdict(item.telling), "message": len(item.telling.message), "n": item.nbytes}
            for item in self._items
        ]
        text = json.dumps({"heads": heads, "forgotten": self._forgotten}).encode()
        return {
            "text": np.frombuffer(text, dtype=np.uint8),
            "bytes": np.frombuffer(b"".join(i.telling.message for i in self._items), dtype=np.uint8),
            "heard": np.array(sorted(self._heard.items()), dtype=np.int64).reshape(-1, 2),
        }

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Goes on from what :meth:`arrays` gave."""
        found, data = json.loads(arrays["text"].tobytes()), arrays["bytes"].tobytes()
        self._forgotten, self._items, at = found["forgotten"], [], 0
        for head in found["heads"]:
            nbytes, length = head.pop("n"), head.pop("message")
            stamp, compressed = Stamp(*head.pop("stamp")), tuple(head.pop("compressed"))
            message = data[at : at + length]
            self._items.append(
                Item(Telling(stamp=stamp, compressed=compressed, message=message, **head), nbytes)
            )
            at += length
        self._nbytes = sum(item.nbytes for item in self._items)
        self._heard = {int(client): int(number) for client, number in arrays["heard"]}
