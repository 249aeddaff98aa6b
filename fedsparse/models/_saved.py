"""Models in folders: ours with what was said to build them, those of finished runs, and those of Hugging Face."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]
from torch import Tensor, nn

from fedsparse.errors import ConfigError, DataError

__all__ = ["Foreign", "filled", "folder_of", "foreign", "is_saved", "required", "write"]

_SAID, _WEIGHTS = "model.json", "model.safetensors"
_CONFIG, _SUMMARY = "config.yaml", "summary.json"


def write(folder: Path, module: nn.Module, said: Mapping[str, Any]) -> None:
    """Writes a model's weights, and what builds it; the description comes last, so that half a folder is none."""
    from safetensors.torch import save_model

    folder.mkdir(parents=True, exist_ok=True)
    save_model(module, str(folder / _WEIGHTS))
    (folder / _SAID).write_text(json.dumps(dict(said), indent=2) + "\n", encoding="utf-8")


def folder_of(base: str, seed: int) -> Path:
    """The folder that is meant, ``{seed}`` in it being the run's."""
    return Path(base.replace("{seed}", str(seed))).expanduser()


def is_saved(folder: Path) -> bool:
    """Whether :func:`write` made this folder, or a run that is finished."""
    return (folder / _SAID).is_file() or ((folder / _CONFIG).is_file() and (folder / _SUMMARY).is_file())


def filled(
    folder: Path, example_shape: tuple[int, ...], classes: int, seed: int
) -> tuple[nn.Module, list[str]]:
    """The model of a folder with its weights, and the names of those that are not from there: of another shape.

    Raises:
        DataError: the folder is damaged.
    """
    from fedsparse import models

    said = _said(folder)
    module = models.build(said["name"], example_shape, classes, seed, **said["options"])
    return module, _load_into(module, folder)


def _said(folder: Path) -> dict[str, Any]:
    """The name and the options of the model of a folder."""
    ours = (folder / _SAID).is_file()
    path = folder / (_SAID if ours else _CONFIG)
    try:
        text = path.read_text(encoding="utf-8")
        said = json.loads(text) if ours else yaml.safe_load(text)["model"]
        return {"name": said["name"], "options": dict(said.get("options") or {})}
    except (ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise DataError(
            f"{path} is damaged ({type(error).__name__}: {error}); write the model again"
        ) from error


@torch.no_grad()
def _load_into(module: nn.Module, folder: Path) -> list[str]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / _WEIGHTS
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"{path} is damaged ({type(error).__name__}: {error}); write the model again"
        ) from error
    missing = [name for name, p in module.named_parameters() if p.requires_grad and name not in stored]
    if missing:
        raise DataError(
            f"{path} has no {missing[0]}: it is damaged, or the run's strategy kept something else than the weights "
            "of its model"
        )
    kept = []
    for name, value in module.state_dict().items():
        if name in stored and stored[name].shape == value.shape:
            value.copy_(stored[name])
        elif name in stored:
            kept.append(name)
    return kept


class Foreign(nn.Module):
    """A classifier of Hugging Face's as a module from inputs to logits.

    Args:
        model: for sequences or for images.
        padding: the token that is no text; -1 for images.
    """

    def __init__(self, model: nn.Module, padding: int) -> None:
        super().__init__()
        self.model, self.padding = model, padding

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[B, classes]`` for tokens ``[B, T]`` of any dtype, or for images ``[B, channels, H, W]``."""
        if self.padding < 0:
            images: Tensor = self.model(pixel_values=x).logits
            return images
        tokens = x.long()
        mask = tokens.ne(self.padding)
        # A row of padding alone, which fills a short minibatch up, still has a token to look at.
        mask = torch.cat([torch.ones_like(mask[:, :1]), mask[:, 1:]], dim=1)
        logits: Tensor = self.model(input_ids=tokens, attention_mask=mask.long()).logits
        return logits


def foreign(name: str, example_shape: tuple[int, ...], classes: int) -> Foreign:
    """A model of Hugging Face's with pre-trained weights; what these lack, such as the head, is drawn by torch.

    Args:
        name: an id, or a folder.
        example_shape: sequences ``(T,)`` or images ``(channels, H, W)``.
        classes: outputs.

    Raises:
        ConfigError: transformers is not installed, or has no such model.
        DataError: inputs that are neither.
    """
    transformers: Any = required("transformers")
    if len(example_shape) not in (1, 3):
        raise DataError(
            f"model.base={name}: takes sequences (T,) or images (channels, height, width), and the examples have "
            f"shape {example_shape}"
        )
    text = len(example_shape) == 1
    maker = (
        transformers.AutoModelForSequenceClassification
        if text
        else transformers.AutoModelForImageClassification
    )
    try:
        with _without_bars(transformers.utils.logging):
            model = maker.from_pretrained(name, num_labels=classes, ignore_mismatched_sizes=True)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"model.base={name}: is no model of ours, no folder that one was saved in, and transformers cannot load it "
            f"({str(error).splitlines()[0]})"
        ) from error
    padding = getattr(model.config, "pad_token_id", None) if text else -1
    return Foreign(model.float(), 0 if padding is None else padding)


@contextmanager
def _without_bars(settings: Any) -> Iterator[None]:
    """Every worker loads the base: a bar of each would be drawn across the run's own progress."""
    shown = settings.is_progress_bar_enabled()
    settings.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            settings.enable_progress_bar()


def required(library: str) -> object:
    """A library of the extra ``lora``.

    Raises:
        ConfigError: it is not installed.
    """
    from importlib import import_module

    try:
        return import_module(library)
    except ImportError as error:
        raise ConfigError(
            f"model=lora needs {library}, which cannot be imported ({error}); pip install 'fedsparse[lora]'"
        ) from error
