"""What a model may demand of its inputs."""

from __future__ import annotations

from fedsparse.errors import DataError

__all__ = ["require_images", "require_sequence"]


def require_images(model: str, example_shape: tuple[int, ...], smallest: int) -> tuple[int, int, int]:
    """Require images; gives back channels, height and width.

    Raises:
        DataError: the inputs are no images, or smaller than ``smallest`` on a side.
    """
    if len(example_shape) != 3 or min(example_shape[1:]) < smallest:
        raise DataError(
            f"model {model!r} needs images (channels, height, width) of {smallest}x{smallest} pixels or "
            f"more, and the examples have shape {example_shape}; use another model, e.g. mlp"
        )
    channels, height, width = example_shape
    return channels, height, width


def require_sequence(model: str, example_shape: tuple[int, ...]) -> int:
    """Require sequences of tokens; gives back their length.

    Raises:
        DataError: the inputs are no sequences.
    """
    if len(example_shape) != 1:
        raise DataError(
            f"model {model!r} needs sequences of tokens (length,), and the examples have shape "
            f"{example_shape}; use another model, e.g. cnn"
        )
    return example_shape[0]
