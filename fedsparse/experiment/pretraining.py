"""Small bases for adapters, pre-trained on one processor: the same bits each time, and once for a folder."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fedsparse import data, models, rng
from fedsparse.data.dataset import Dataset
from fedsparse.data.sets._text import BEGIN, PADDING
from fedsparse.errors import ConfigError, DataError
from fedsparse.experiment.form import Base

__all__ = ["CLIENTS", "own_and_rest", "pretrained"]

CLIENTS = "clients"
"""The folder in a base's own with the examples that it never saw, as ``data=arrays`` reads them."""

_ASKED = "base.json"


def pretrained(base: Base, data_dir: Path | None, folder: Path, note: Callable[[str], None]) -> Path:
    """The folder of the base, which is trained if it is not there: AdamW, minibatches in a keyed order.

    Args:
        base: which.
        data_dir: of the data's files; ``FEDSPARSE_DATA`` when None.
        folder: of the model, for ``model.base``; in it, :data:`CLIENTS`.
        note: is told the loss of each epoch.

    Raises:
        ConfigError: the folder has another base.
        DataError: a file is missing or damaged, or these are no examples to be trained on.
    """
    if (folder / "model.json").exists():
        _check_same(base, folder)
        return folder
    own, rest = own_and_rest(base, data_dir)
    outputs = {"labels": own.classes, "words": int(own.x.max()) + 1, "turns": 4}[base.objective]
    model = models.build(base.model, own.example_shape, outputs, 0, **base.options)
    _train(model, base, own, note)
    _write_examples(folder / CLIENTS, rest)
    (folder / _ASKED).write_text(json.dumps(asdict(base), indent=1) + "\n", encoding="utf-8")
    models.save(folder, model, base.model, own.example_shape, outputs, **base.options)
    return folder


def own_and_rest(base: Base, data_dir: Path | None) -> tuple[Dataset, Dataset]:
    """The data set twice: with the training examples that the base is trained on, and with those it never sees."""
    whole = data.load(base.data, data_dir, **base.data_options)
    if not isinstance(whole, Dataset):
        raise DataError(f"{base.data}: is a problem; a base is trained on a data set of examples")
    if base.objective == "words" and whole.x.dtype != np.int64:
        raise DataError(f"{base.data}: the objective 'words' hides tokens of texts, and these are no texts")
    if base.objective == "turns" and (whole.x.ndim != 4 or whole.x.shape[2] != whole.x.shape[3]):
        raise DataError(
            f"{base.data}: the objective 'turns' turns square images, and examples are of shape {whole.example_shape}"
        )
    if base.examples >= len(whole.x):
        raise DataError(
            f"base: {base.examples} examples: leaves none of its {len(whole.x)} examples for the clients"
        )
    order = rng.stream(0, "pretrain").permutation(len(whole.x))
    parts = np.sort(order[: base.examples]), np.sort(order[base.examples :])
    first, rest = (replace(whole, x=whole.x[part], y=whole.y[part], groups=None) for part in parts)
    return first, rest


def _inputs(of: Dataset, x: NDArray[Any]) -> Tensor:
    """Examples as a model gets them."""
    ready = torch.from_numpy(np.array(x))  # a copy: what lies in a file is not to be written to
    return ready if ready.dtype == torch.int64 else ready.float() * of.scale + of.shift


def _train(model: nn.Module, base: Base, own: Dataset, note: Callable[[str], None]) -> None:
    torch.set_num_threads(1)  # the order of sums, hence the bits, depends on their number
    optimiser = torch.optim.AdamW(model.parameters(), lr=base.lr)
    x, y = _inputs(own, own.x), torch.from_numpy(own.y)
    for epoch in range(base.epochs):
        draw, losses = rng.stream(0, f"pretrain:{base.objective}", epoch), []
        for batch in _batches(len(x), base.batch, epoch):
            optimiser.zero_grad()
            loss = _loss(base, model, x[batch], y[batch], draw)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            losses.append(loss.item())
        note(f"base, epoch {epoch + 1}: mean loss {statistics.fmean(losses):.4f}")


def _loss(base: Base, model: nn.Module, x: Tensor, y: Tensor, draw: np.random.Generator) -> Tensor:
    if base.objective == "words":
        return _words(model, x, draw)
    if base.objective == "turns":
        x, y = _turned(x, draw)
    return functional.cross_entropy(model(x), y)


def _turned(x: Tensor, draw: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Square images ``[B, channels, n, n]``, each turned, and by how many quarters (Gidaris et al., ICLR 2018)."""
    quarters = torch.from_numpy(draw.integers(4, size=len(x)))
    turned = torch.stack([x.rot90(k, (2, 3)) for k in range(4)])
    return turned[quarters, torch.arange(len(x))], quarters


def _words(model: nn.Module, x: Tensor, draw: np.random.Generator) -> Tensor:
    """The mean loss of guessing hidden tokens of a text from the others; each is hidden with probability 1/2."""
    hidden = torch.from_numpy(draw.random(x.shape) < 0.5) & (x > BEGIN)
    scores = functional.log_softmax(model(x.masked_fill(hidden, PADDING)), 1)
    return -(scores.gather(1, x) * hidden).sum() / hidden.sum().clamp(min=1)


def _batches(n: int, size: int, epoch: int) -> Iterator[Tensor]:
    order = torch.from_numpy(rng.stream(0, "pretrain", epoch).permutation(n))
    return iter(order.split(size))  # type: ignore[no-untyped-call]


def _write_examples(folder: Path, of: Dataset) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("x", "x_test"):
        np.save(folder / f"{name}.npy", _inputs(of, getattr(of, name)).numpy(), allow_pickle=False)
    for name in ("y", "y_test"):
        np.save(folder / f"{name}.npy", getattr(of, name), allow_pickle=False)


def _check_same(base: Base, folder: Path) -> None:
    path = folder / _ASKED
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    if known != json.loads(json.dumps(asdict(base))):
        raise ConfigError(
            f"{folder}: has another base than what is asked for now; remove it, or name another folder"
        )
