"""What transformers are made of: attention, blocks, positions.

Source: A. Vaswani et al., "Attention Is All You Need", NIPS 2017, with the normalisation before each part: R. Xiong et
al., "On Layer Normalization in the Transformer Architecture", ICML 2020.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedsparse.data.checks import whole
from fedsparse.errors import ConfigError

__all__ = ["Attention", "Block", "Positions", "blocks"]


class Positions(nn.Module):
    """Adds to the vector at each place of a sequence one that is learnt for the place.

    Args:
        length: of the sequences, T.
        width: of the vectors, e.
    """

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(length, width))

    def forward(self, x: Tensor) -> Tensor:
        """``[B, T, e]`` to the same shape."""
        return x + self.weight


class Attention(nn.Module):
    """Self-attention with several heads; each projection is a linear layer of its own.

    Args:
        width: of the vectors, e.
        heads: they divide the width.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """``[B, T, e]`` to the same shape; ``bias [B, 1, 1, T]`` is added to the scores."""
        q, k, v = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.q, self.k, self.v)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        found: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return found


class Block(nn.Module):
    """Attention, then two linear layers for each place by itself, both with a way round them.

    Args:
        width: of the vectors, e.
        heads: of the attention.
        hidden: width between the two linear layers.
    """

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm2, self.fc1 = nn.LayerNorm(width), nn.Linear(width, hidden)
        self.gelu, self.fc2 = nn.GELU(), nn.Linear(hidden, width)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """``[B, T, e]`` to the same shape; ``bias`` as in :class:`Attention`."""
        x = x + self.attention(self.norm1(x), bias)
        made: Tensor = self.fc2(self.gelu(self.fc1(self.norm2(x))))
        return x + made


def blocks(width: int, heads: int, layers: int) -> nn.ModuleList:
    """``layers`` blocks with a hidden width of four times the width.

    Raises:
        ConfigError: numbers that are not positive, or heads that do not divide the width.
    """
    for option, value in (("width", width), ("heads", heads), ("layers", layers)):
        whole(option, value, 1)
    if width % heads:
        raise ConfigError(f"heads={heads}: must divide width={width}")
    return nn.ModuleList(Block(width, heads, 4 * width) for _ in range(layers))
