"""Next-character prediction with a recurrent network.

``cell=lstm layers=2 hidden=256`` is the Shakespeare model of H. B. McMahan et al., "Communication-Efficient
Learning of Deep Networks from Decentralized Data", AISTATS 2017.
"""

from __future__ import annotations

from torch import Tensor, nn

from fedsparse.data.checks import one_of, whole
from fedsparse.models._shapes import require_sequence

__all__ = ["build"]

CELLS = {"gru": nn.GRU, "lstm": nn.LSTM}


def build(
    example_shape: tuple[int, ...],
    classes: int,
    *,
    cell: str = "gru",
    embedding: int = 8,
    hidden: int = 128,
    layers: int = 1,
) -> nn.Module:
    """An embedding, recurrent layers, and a linear layer on every position.

    Args:
        example_shape: (T,), the length of the sequences.
        classes: characters of the vocabulary.
        cell: ``gru`` or ``lstm``.
        embedding: size of a character's vector.
        hidden: size of a layer's state.
        layers: recurrent layers.
    """
    one_of("cell", cell, tuple(CELLS))
    for option, value in (("embedding", embedding), ("hidden", hidden), ("layers", layers)):
        whole(option, value, 1)
    require_sequence("charmodel", example_shape)
    return _CharacterModel(cell, classes, embedding, hidden, layers)


class _CharacterModel(nn.Module):
    def __init__(self, cell: str, classes: int, embedding: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, embedding)
        self.recurrent = CELLS[cell](embedding, hidden, num_layers=layers, batch_first=True)
        self.head = nn.Linear(hidden, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the next character at every position.

        Args:
            tokens: ``[B, T]``; whole numbers of any dtype, since batches may be gathered as floats.

        Returns:
            ``[B, T, classes]``.
        """
        states, _ = self.recurrent(self.embedding(tokens.long()))
        logits: Tensor = self.head(states)
        return logits
