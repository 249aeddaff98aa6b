"""Text classification with a small transformer encoder.

Tokens are whole numbers, 0 is padding: what the text data sets give. See :mod:`fedsparse.models._blocks` for its parts.
"""

from __future__ import annotations

from torch import Tensor, nn

from fedsparse.data.checks import whole
from fedsparse.models._blocks import Positions, blocks
from fedsparse.models._shapes import require_sequence

__all__ = ["build"]


def build(
    example_shape: tuple[int, ...],
    classes: int,
    *,
    vocabulary: int = 4096,
    width: int = 64,
    heads: int = 4,
    layers: int = 2,
) -> nn.Module:
    """Embeddings of tokens and positions, blocks of attention, the mean over the tokens, a linear layer.

    Args:
        example_shape: (T,), the length of the sequences.
        classes: outputs.
        vocabulary: tokens are below this; the data set's ``vocabulary`` must not be larger.
        width: of a token's vector.
        heads: of the attention; they divide the width.
        layers: blocks.
    """
    whole("vocabulary", vocabulary, 1)
    return _Transformer(
        require_sequence("transformer", example_shape), classes, vocabulary, width, heads, layers
    )


class _Transformer(nn.Module):
    def __init__(
        self, length: int, classes: int, vocabulary: int, width: int, heads: int, layers: int
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.positions = Positions(length, width)
        self.blocks = blocks(width, heads, layers)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits ``[B, classes]`` for tokens ``[B, T]``: whole numbers of any dtype."""
        real = tokens.ne(0).float()
        # Not minus infinity: a row of padding alone then has a mean and no NaN.
        bias = (1 - real)[:, None, None] * -1e4
        x = self.positions(self.embedding(tokens.long()))
        for block in self.blocks:
            x = block(x, bias)
        summed = (self.norm(x) * real[:, :, None]).sum(1)
        logits: Tensor = self.head(summed / real.sum(1, keepdim=True).clamp(min=1))
        return logits
