"""Devices are tested by themselves: what the server asks, and what it makes of what they say.

A device gets the evaluated model and says how good its own one is on test examples of its own, which stay where they
are. That is an evaluation: nothing of it is in the ledger, and nothing stays.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from fedsparse.engine.block import BUFFERS
from fedsparse.engine.calls import as_array
from fedsparse.errors import DecodeError
from fedsparse.flower.letters import Answer, Stamp, Telling
from fedsparse.flower.post import Returned
from fedsparse.message import Dense
from fedsparse.wire import SERVER, Envelope, Limits, check_envelope, decode_message, encode_message

__all__ = ["SHOWN", "asked", "question", "scalars_of", "verdicts"]

SHOWN = 255
"""The phase in the envelope of a model that is shown."""

_MARK = "@"


def question(run: int, number: int, x: Tensor, buffers: Tensor) -> Telling:
    """The model ``x [d]`` and its statistics ``buffers [b]``, for devices to be tested with, after a round."""
    model = {"x": Dense(x[None])} | ({BUFFERS: Dense(buffers[None])} if len(buffers) else {})
    data = encode_message(model, 0, Envelope(run, number, SHOWN, SERVER))
    return Telling("rest", Stamp(number, 0), "judge", 0.0, (), data)


def asked(telling: Telling, run: int, limits: Limits) -> dict[str, np.ndarray]:
    """The model and its statistics, as a device reads them.

    Raises:
        DecodeError: they are damaged, of another run, or no model.
    """
    envelope, message = decode_message(telling.message, limits)
    check_envelope(envelope, run, telling.stamp.round, SHOWN, (SERVER,))
    found = {name: as_array(payload.dense()[0]) for name, payload in message.items()}
    if "x" not in found:
        raise DecodeError("x: there is no model to be tested with")
    return {BUFFERS: as_array(torch.zeros(0)), **found}


def scalars_of(measured: Mapping[str, np.ndarray]) -> dict[str, float]:
    """What was measured of one client, ``[1]`` by name, as an answer has it."""
    return {_MARK + name: float(value[0]) for name, value in measured.items()}


def verdicts(returned: Mapping[int, Returned]) -> dict[int, dict[str, float]]:
    """What each device said of itself, by client.

    One that measured something else than most is left out, and so is one that says infinity.
    """
    read = {client: _read(client, found) for client, found in sorted(returned.items())}
    names = Counter(frozenset(said) for said in read.values() if said is not None)
    if not names:
        return {}
    usual = names.most_common(1)[0][0]
    return {client: said for client, said in read.items() if said is not None and said.keys() == usual}


def _read(client: int, returned: Returned) -> dict[str, float] | None:
    if returned.content is None:
        return None
    try:
        answer = Answer.of(returned.content)
    except DecodeError:
        return None
    said = {name.removeprefix(_MARK): value for name, value in answer.scalars.items()}
    return said if answer.client == client and said and not any(map(math.isinf, said.values())) else None
