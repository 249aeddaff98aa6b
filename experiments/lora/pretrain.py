"""Pre-trains a small base model for adapters, on one processor and in minutes; the same bits each time.

    python -m experiments.lora.pretrain NAME [data_dir=FOLDER] [folder=FOLDER]

``NAME`` is one of ``pretrain.yaml`` beside this file. The model lies in ``folder`` (``runs/pretrained/NAME``) for
``model=lora model.base=FOLDER``, and is not trained again while it is there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional

from fedsparse import data, models, rng
from fedsparse.data.dataset import Dataset
from fedsparse.models import build

__all__ = ["BASES", "accuracy", "clean_and_rest", "inputs", "pretrained"]

BASES: dict[str, dict[str, Any]] = yaml.safe_load(
    (Path(__file__).resolve().parent / "pretrain.yaml").read_text(encoding="utf-8")
)


def clean_and_rest(base: Mapping[str, Any], data_dir: Path | None) -> tuple[Dataset, Dataset]:
    """The data set twice: with the training examples that the base is trained on, and with those it never sees."""
    whole = data.load(base["data"], data_dir, **base.get("data_options", {}))
    if not isinstance(whole, Dataset):
        raise TypeError(f"{base['data']} is not a data set of examples")
    order = rng.stream(0, "pretrain").permutation(len(whole.x))
    parts = np.sort(order[: base["examples"]]), np.sort(order[base["examples"] :])
    first, rest = (replace(whole, x=whole.x[own], y=whole.y[own], groups=None) for own in parts)
    return first, rest


def inputs(of: Dataset, x: np.ndarray[Any, Any]) -> Tensor:
    """Examples as a model gets them."""
    ready = torch.from_numpy(np.ascontiguousarray(x))
    return ready if ready.dtype == torch.int64 else ready.float() * of.scale + of.shift


def accuracy(model: nn.Module, of: Dataset) -> float:
    """Share of the test part that is classified right."""
    with torch.no_grad():
        found = torch.cat([model(part) for part in inputs(of, of.x_test).split(500)]).argmax(1)
    return float((found == torch.from_numpy(of.y_test)).float().mean())


def pretrained(name: str, data_dir: Path | None, folder: Path) -> Path:
    """The folder of the base, which is trained if it is not there: AdamW, minibatches in a keyed order.

    Args:
        name: of the base.
        data_dir: of the data's files.
        folder: of the model.
    """
    base = BASES[name]
    if (folder / "model.json").exists():
        return folder
    of, _ = clean_and_rest(base, data_dir)
    kind, options = base["model"], base.get("options", {})
    model = build(kind, of.example_shape, of.classes, 0, **options)
    torch.set_num_threads(1)  # the order of sums, hence the bits, depends on their number
    optimiser = torch.optim.AdamW(model.parameters(), lr=base["lr"])
    x, y = inputs(of, of.x), torch.from_numpy(of.y)
    for epoch in range(base["epochs"]):
        for batch in _batches(len(x), base["batch"], epoch):
            optimiser.zero_grad()
            functional.cross_entropy(model(x[batch]), y[batch]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        print(f"epoch {epoch + 1}: test accuracy {accuracy(model, of):.4f}", flush=True)
    models.save(folder, model, kind, of.example_shape, of.classes, **options)
    return folder


def _batches(n: int, size: int, epoch: int) -> Iterator[Tensor]:
    order = torch.from_numpy(rng.stream(0, "pretrain", epoch).permutation(n))
    return iter(order.split(size))


def main(argv: Sequence[str]) -> int:
    """Trains the base that is named."""
    if not argv or argv[0] not in BASES:
        print(f"{__doc__}\nNAME is one of {', '.join(BASES)}.")
        return 2
    words = dict(word.split("=", 1) for word in argv[1:])
    data_dir = Path(words["data_dir"]) if "data_dir" in words else None
    folder = pretrained(argv[0], data_dir, Path(words.get("folder", f"runs/pretrained/{argv[0]}")))
    print(f"model=lora model.base={folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
