"""A small vision transformer.

Source: A. Dosovitskiy et al., "An Image Is Worth 16x16 Words", ICLR 2021. Here the mean over the patches is classified
and there is no token for the class, as in the baseline of L. Beyer et al., "Better plain ViT baselines for
ImageNet-1k", 2022.
"""

from __future__ import annotations

from torch import Tensor, nn

from fedsparse.data.checks import whole
from fedsparse.errors import DataError
from fedsparse.models._blocks import Positions, blocks
from fedsparse.models._shapes import require_images

__all__ = ["build"]


def build(
    example_shape: tuple[int, ...],
    classes: int,
    *,
    patch: int = 2,
    width: int = 64,
    heads: int = 4,
    layers: int = 2,
) -> nn.Module:
    """Patches as vectors, positions, blocks of attention, the mean over the patches, a linear layer.

    Args:
        example_shape: (channels, height, width); the sides are multiples of ``patch``.
        classes: outputs.
        patch: side of a patch in pixels.
        width: of a patch's vector.
        heads: of the attention; they divide the width.
        layers: blocks.
    """
    whole("patch", patch, 1)
    channels, rows, columns = require_images("vit", example_shape, patch)
    if rows % patch or columns % patch:
        raise DataError(
            f"model 'vit' cuts images into patches of {patch}x{patch} pixels, and the images have "
            f"{rows}x{columns}; choose a model.patch that divides both"
        )
    return _ViT(channels, (rows // patch) * (columns // patch), classes, patch, width, heads, layers)


class _ViT(nn.Module):
    def __init__(
        self, channels: int, length: int, classes: int, patch: int, width: int, heads: int, layers: int
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, width, patch, stride=patch)
        self.positions = Positions(length, width)
        self.blocks = blocks(width, heads, layers)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, classes]`` for images ``[B, channels, height, width]``."""
        x = self.positions(self.patches(images).flatten(2).transpose(1, 2))
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x).mean(1))
        return logits
