"""Topics of news: world, sports, business, science and technology.

Source: X. Zhang, J. Zhao, Y. LeCun, "Character-level Convolutional Networks for Text Classification", NIPS 2015.
"""

from __future__ import annotations

from pathlib import Path

from fedsparse.data.dataset import Dataset
from fedsparse.data.files import Files
from fedsparse.data.sets._text import labelled, tokens

__all__ = ["FILES", "load"]

CLASSES = 4
FILES = Files(
    name="ag_news",
    folders=("text", "ag_news", "."),
    origin="It is the data set fancyzhx/ag_news of Hugging Face's: Parquet files with the columns text and label.",
)


def load(
    data_dir: Path | None,
    seed: int,  # noqa: ARG001 - the files have the split
    *,
    length: int = 48,
    vocabulary: int = 4096,
    tokenizer: str = "",
) -> Dataset:
    """Descriptions of news as rows of tokens, with their topic.

    Args:
        data_dir: the data folder, with ``ag_news_train.parquet``, or 10,001 of its rows as
            ``ag_news_train10k.parquet``, and ``ag_news_test.parquet``.
        seed: not used.
        length: tokens of a text, T; what it has more is cut off.
        vocabulary: how many tokens there are.
        tokenizer: a folder or id of Hugging Face's instead of hashed words, for a base with such a vocabulary.

    Returns:
        x ``[N, T]`` int64, y ``[N]`` int64.
    """
    train = labelled(
        FILES.find(data_dir, "ag_news_train.parquet", "ag_news_train10k.parquet"), "text", CLASSES
    )
    test = labelled(FILES.find(data_dir, "ag_news_test.parquet"), "text", CLASSES)
    x, x_test = (tokens(texts, length, vocabulary, tokenizer) for texts, _ in (train, test))
    return Dataset("ag_news", x, train[1], x_test, test[1], classes=CLASSES)
